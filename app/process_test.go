package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
	"github.com/weirflow/weir/policy"
)

// ticks is a source that never ends.
type ticks struct{}

func (ticks) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
	return func(yield func(weir.Batch[int], error) bool) {
		for n := len(after) + 1; ctx.Err() == nil; n++ {
			if !yield(weir.Batch[int]{Values: []int{n}, Position: weir.Position(strings.Repeat("x", n))}, nil) {
				return
			}
		}
		yield(weir.Batch[int]{}, context.Cause(ctx))
	}
}

var endless = weir.Define("endless", func(f *weir.Flow) {
	in := weir.From(f, "ticks", ticks{}, policy.Rate{PerSecond: 100})
	weir.Each(in, "say", func(_ context.Context, n int) error {
		_, err := fmt.Println("tick", n)
		return err
	})
})

// stuck delivers nothing until it is cancelled.
var stuck = weir.Define("stuck", func(f *weir.Flow) {
	weir.Each(weir.From(f, "in", weir.Slice([]int{1})), "wait", func(ctx context.Context, _ int) error {
		fmt.Println("waiting")
		<-ctx.Done()
		return ctx.Err()
	})
})

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"endless": func() { app.Main(endless) },
		"stuck":   func() { app.Main(stuck) },
		"greet":   func() { app.Main(flow) },
	})
}

// A process is a program that runs beside the test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output *bufio.Scanner // of one of its streams
	seen   []string
}

// launch starts a program in an empty folder; pipe chooses the stream to read.
func launch(t *testing.T, pipe func(*exec.Cmd) (io.ReadCloser, error), name string, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	out, err := pipe(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &process{t: t, cmd: cmd, output: bufio.NewScanner(out)}
}

// await reads until a line holds text.
func (p *process) await(text string) {
	p.t.Helper()
	for p.output.Scan() {
		p.seen = append(p.seen, p.output.Text())
		if strings.Contains(p.output.Text(), text) {
			return
		}
	}
	p.t.Fatalf("%q did not come, but:\n%s", text, strings.Join(p.seen, "\n"))
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends reads the rest and compares the exit code.
func (p *process) ends(code int) {
	p.t.Helper()
	for p.output.Scan() {
		p.seen = append(p.seen, p.output.Text())
	}
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d:\n%s", got, code, strings.Join(p.seen, "\n"))
	}
}

// An endless flow that is asked to stop has done what it should.
func TestAnEndlessFlowStopsWithZero(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := launch(t, (*exec.Cmd).StdoutPipe, "endless")
		p.await("tick 3")
		p.signal(s)
		p.ends(0)
	}
}

func TestTheSecondSignalCancels(t *testing.T) {
	p := launch(t, (*exec.Cmd).StdoutPipe, "stuck")
	p.await("waiting")
	p.signal(os.Interrupt)
	p.signal(syscall.SIGTERM)
	p.ends(3)
}

// both is standard output and standard error in one.
func both(c *exec.Cmd) (io.ReadCloser, error) {
	out, err := c.StdoutPipe()
	c.Stderr = c.Stdout
	return out, err
}

func TestAStopThatTakesTooLongCancels(t *testing.T) {
	p := launch(t, both, "stuck", "--shutdown-timeout", "10ms")
	p.await("waiting") // else there is nothing yet that a stop has to wait for
	p.signal(os.Interrupt)
	p.await("stopping")
	p.await("cancelled in")
	p.ends(3)
}

func TestManualStartupWaitsForUSR1(t *testing.T) {
	p := launch(t, (*exec.Cmd).StderrPipe, "greet", "--startup", "manual")
	p.await("kill -USR1")
	p.signal(syscall.SIGUSR1)
	p.await("completed in")
	p.ends(0)
}

// With --log-format json every line is a JSON object, whatever happens.
func TestJSONOutput(t *testing.T) {
	p := launch(t, (*exec.Cmd).StderrPipe, "stuck", "--log-format", "json")
	p.await("new run")
	p.signal(os.Interrupt)
	p.await("stopping")
	p.signal(os.Interrupt)
	p.ends(3)
	for _, line := range p.seen {
		var v struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Time == "" || v.Level == "" || v.Msg == "" {
			t.Errorf("%q: %v, want an object with time, level and msg", line, err)
		}
	}
}

// On a terminal there is a table below what the flow prints, which stays; else
// there is none.
func TestTerminal(t *testing.T) {
	p := launch(t, func(cmd *exec.Cmd) (io.ReadCloser, error) {
		master, slave, err := pty.Open()
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _, _ = master.Close(), slave.Close() })
		cmd.Stdout, cmd.Stderr = slave, slave
		return master, pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80})
	}, "endless")
	p.await("stage")
	p.signal(os.Interrupt)
	p.await("stopped in")
	all := strings.Join(p.seen, "\n")
	for _, drawn := range regexp.MustCompile("\x1b\\[2K([^\x1b]*)").FindAllStringSubmatch(all, -1) {
		if n := utf8.RuneCountInString(drawn[1]); n > 80 {
			t.Errorf("a line of the table has %d columns, want at most 80: %q", n, drawn[1])
		}
	}
	for _, want := range []string{"running · run ", "in flight", "\x1b[1;20r", "\x1b[r", "tick 1", "tick 50"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %q", want, all)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}

	p = launch(t, (*exec.Cmd).StderrPipe, "greet")
	p.ends(0)
	if all := strings.Join(p.seen, "\n"); strings.Contains(all, "\x1b") {
		t.Errorf("escapes without a terminal: %q", all)
	}
}

// status.json says how a run stands, also after its end.
func TestStatusFile(t *testing.T) {
	code, _, stderr := run(t)
	if code != 0 {
		t.Fatal(stderr)
	}
	names, err := filepath.Glob(".weir/greet/*/status.json")
	if err != nil || len(names) != 1 {
		t.Fatalf("%d status files, %v", len(names), err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Status string
		Epoch  int
		Stages []struct {
			Name string
			Out  int
		}
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if s.Status != "completed" || s.Epoch != 1 || len(s.Stages) != 2 || s.Stages[1].Out != 1 {
		t.Errorf("status.json is %s", text)
	}
}
