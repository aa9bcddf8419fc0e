package segment_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// The part that a process of TestFollowAcrossProcesses plays, and the run's
// directory.
const (
	roleVariable = "WEIR_SEGMENT_ROLE"
	dirVariable  = "WEIR_SEGMENT_DIR"
)

// lastOrder is the payload of the last record.
const lastOrder = "the last order"

var inProcesses = segment.Options{SegmentSize: 16 << 10}

// A follower in a process of its own is given each record once, in order, while
// one owner is killed, a second one too, and a third comes to the end.
func TestFollowAcrossProcesses(t *testing.T) {
	switch os.Getenv(roleVariable) {
	case "own":
		own(t, 1<<30)
		return
	case "end":
		own(t, 300)
		return
	case "follow":
		follow(t)
		return
	}
	at := t.TempDir() + "/run"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // only if a process hangs
	defer cancel()
	role := func(name string) (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFollowAcrossProcesses$")
		cmd.Env = append(os.Environ(), roleVariable+"="+name, dirVariable+"="+at)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewScanner(out)
	}

	var follower *exec.Cmd
	var followed *bufio.Scanner
	durable := 0 // the record that an owner said is durable
	for _, killAt := range []int{250, 500} {
		owner, says := role("own")
		for durable < killAt && says.Scan() {
			if _, err := fmt.Sscanf(says.Text(), "durable %d", &durable); err != nil {
				t.Fatalf("an owner says %q", says.Text())
			}
			if follower == nil {
				follower, followed = role("follow")
			}
		}
		if err := owner.Process.Kill(); err != nil {
			t.Fatalf("kill an owner at record %d: %v", durable, err)
		}
		_ = owner.Wait() // it was killed
		if durable < killAt {
			t.Fatalf("an owner ended at record %d by itself", durable)
		}
	}
	owner, says := role("end")
	for says.Scan() { // until it ends
	}
	if err := owner.Wait(); err != nil {
		t.Fatalf("the last owner: %v", err)
	}

	log, report, err := segment.Open(vfs.OS, at, inProcesses)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, log)
	if report.Cut != 0 || report.Segments < 3 || len(log.Manifest().Epochs) != 4 {
		t.Errorf("the log has %d epochs in %d segments, cut by %d", len(log.Manifest().Epochs), report.Segments, report.Cut)
	}
	var want []string
	for i, body := range read(t, log, 0) {
		want = append(want, lines(t, journal.LSN(i+1), []byte(body))...)
	}
	got := 0
	var said []string // by the testing package
	for followed.Scan() {
		line := followed.Text()
		if !strings.HasPrefix(line, "record ") {
			said = append(said, line)
			continue
		}
		if got == len(want) || line != want[got] {
			t.Fatalf("the follower's record number %d is %q, and there are %d", got+1, line, len(want))
		}
		got++
	}
	if err := follower.Wait(); err != nil {
		t.Errorf("the follower: %v\n%s", err, strings.Join(said, "\n"))
	}
	if got != len(want) {
		t.Errorf("the follower was given %d of %d records", got, len(want))
	}
}

// own goes on with the run for a number of transitions and ends it, and says from
// time to time how many records are durable.
func own(t *testing.T, transitions int) {
	t.Helper()
	at := os.Getenv(dirVariable)
	log, _, err := segment.Open(vfs.OS, at, inProcesses)
	if errors.Is(err, fs.ErrNotExist) {
		log, err = segment.Create(vfs.OS, at, run, inProcesses)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{name: "orders"}
	for _, body := range read(t, log, 0) {
		var tr journal.Transition
		if err := journal.Parse([]byte(body), &tr); err != nil {
			t.Fatal(err)
		}
		o := tr.Outputs[0]
		s.number, s.seq = tr.Number, o.First+uint64(o.Count)-1
	}
	epoch := len(log.Manifest().Epochs)
	for i := range transitions {
		put(t, log, s.next(t, 1+i%3, nil, fmt.Sprintf("order %d of epoch %d", i, epoch), strings.Repeat("x", i%200))...)
		if i%5 == 0 {
			durable(t, log)
			fmt.Println("durable", s.seq)
		}
	}
	put(t, log, s.next(t, 1, nil, lastOrder)...)
	closeLog(t, log)
}

// follow prints the records of the run until the last.
func follow(t *testing.T) {
	t.Helper()
	v, err := segment.OpenView(vfs.OS, os.Getenv(dirVariable))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for e, err := range v.Follow(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines(t, e.LSN, e.Body) {
			fmt.Println(line)
			if strings.HasSuffix(line, lastOrder) {
				return
			}
		}
	}
}

// lines returns one line for each record of a frame.
func lines(t *testing.T, lsn journal.LSN, body []byte) []string {
	t.Helper()
	var tr journal.Transition
	if err := journal.Parse(body, &tr); err != nil {
		t.Fatalf("frame %d: %v", lsn, err)
	}
	var all []string
	for i := range tr.Outputs {
		rs := journal.NewRecords(&tr.Outputs[i])
		var r journal.Record
		for {
			seq, ok := rs.Next(&r)
			if !ok {
				break
			}
			all = append(all, fmt.Sprintf("record %d of frame %d: %s", seq, lsn, r.Payload))
		}
		if err := rs.Err(); err != nil {
			t.Fatalf("frame %d: %v", lsn, err)
		}
	}
	return all
}
