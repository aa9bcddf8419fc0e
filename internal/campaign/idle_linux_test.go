package campaign_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The life of the idle program: time in which it must do nothing, some time after it
// began, at the latest.
const (
	watched = 10 * time.Second
	latest  = 90 * time.Second
)

// An idle flow of a hundred stages makes no system call at all.
//
// The program is traced from its start. Once its source waits it has some time
// for what a start brings with it: three records run through the stages and are
// made durable, the status file is written, at most once a second, a checkpoint is
// taken 30 s after something new, once, and the Go runtime comes to rest. What the
// runtime does of itself then is known, and not in the ten seconds that are watched:
//
//   - sysmon, its watchdog, sleeps in nanosleep for 20 µs to 10 ms as long as any
//     goroutine runs. When none does it waits in a futex whose timeout is half of
//     the time between forced garbage collections, a minute, or the next timer if
//     that is sooner.
//   - The scavenger gives memory that the start took back in steps; the slower the
//     machine, the longer it sleeps between two of them.
//   - A forced collection comes two minutes after the last.
//   - One thread waits in epoll_pwait, until the next timer if there is one.
//
// So it is watched until it was silent for that long; what polls is never.
// Waits that began earlier and do not end are not calls, so the list of calls and
// ends of calls must be empty: no nanosleep, no futex, no epoll_pwait, no write,
// no fdatasync.
func TestIdleFlowMakesNoSystemCalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, trace := filepath.Join(dir, "idle"), filepath.Join(dir, "trace")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/idle").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command("strace", "-f", "-ttt", "-o", trace, program, "--data", filepath.Join(dir, "data"))
	cmd.Dir = dir // no settings file
	var said strings.Builder
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("strace shows what an idle run asks of the system: %v; apt-get install strace", err)
	}
	defer func() { _ = cmd.Process.Kill() }() // it has ended, unless the test failed before
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the program says %q, then %v\n%s", line, err, said.String())
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "reading ")))
	if err != nil {
		t.Fatal(err)
	}
	if err := silence(trace); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // an endless flow that is asked to stop has done what it should
		t.Fatalf("the program ended with %v\n%s", err, said.String())
	}
	calls, before, err := callsBefore(trace, watched)
	if err != nil {
		t.Fatal(err)
	}
	if before < 1000 {
		t.Errorf("only %d calls were seen before, so the trace does not show the program", before)
	}
	if len(calls) > 0 {
		t.Errorf("%d system calls in %v of doing nothing:\n%s", len(calls), watched, strings.Join(calls[:min(len(calls), 50)], "\n"))
	}
}

// silence returns when a trace has not grown for as long as is watched, and an error
// if that does not happen.
func silence(trace string) error {
	began := time.Now()
	for size, since := int64(-1), began; time.Since(since) < watched+time.Second; {
		<-time.After(time.Second / 2) // another program, whose time is real
		is, err := os.Stat(trace)
		if err != nil {
			return err
		}
		if is.Size() != size {
			size, since = is.Size(), time.Now()
		}
		if time.Since(began) > latest {
			return fmt.Errorf("the program was never silent for %v", watched)
		}
	}
	return nil
}

// callsBefore returns the lines of a trace within d before SIGINT came, and how
// many there were before those.
func callsBefore(trace string, d time.Duration) (calls []string, before int, err error) {
	text, err := os.ReadFile(trace)
	if err != nil {
		return nil, 0, err
	}
	all := strings.Split(string(text), "\n")
	at := func(line string) float64 {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return 0
		}
		t, _ := strconv.ParseFloat(fields[1], 64)
		return t
	}
	for i, line := range all {
		if !strings.Contains(line, "--- SIGINT {") {
			continue
		}
		from := at(line) - d.Seconds()
		for _, earlier := range all[:i] {
			switch {
			case at(earlier) < from:
				before++
			case !strings.Contains(earlier, "ERESTART"): // what the signal itself woke
				calls = append(calls, earlier)
			}
		}
		return calls, before, nil
	}
	return nil, 0, fmt.Errorf("%s does not show the signal that ended the program", trace)
}
