package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fsnotify/fsnotify"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// The programs of the scripts are this test binary under other names, in
// processes of their own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"flights":  main,
		"payments": func() { app.Main(weir.Define("payments", payments)) },
		"measured": measured,
		"changed": func() {
			app.Main(weir.DefineWith("flights", Config{Flights: "flights.jsonl", Airports: "airports.csv", Out: "out"}, changed))
		},
	})
}

// payments is a flow that has nothing to do with flights.
func payments(f *weir.Flow) {
	in := weir.From(f, "in", weir.Slice([]int{1, 2}))
	weir.Each(in, "pay", func(context.Context, int) error { return errors.New("no money") }, weir.OnError{Error: weir.Fail})
}

// changed is flights with one more stage.
func changed(f *weir.Flow, cfg Config) {
	build(f, cfg)
	weir.Each(weir.BadInput(f, "flights"), "report", func(context.Context, weir.Failed[[]byte]) error { return nil })
}

// TestScripts runs what is in testdata/script: what a person types, what the
// program answers, word by word, and its exit code. Beside the commands of
// testscript there are these:
//
//	exits CODE PROGRAM ARG…   run a program; its exit code must be CODE
//	as UID exits CODE …       the same as another user
//	start NAME PROGRAM ARG…   run a program beside the script
//	says NAME REGEXP          wait until a line of its standard error matches
//	fills GLOB [BYTES]        wait until a file that matches holds that much, or anything
//	signal NAME SIGNAL        INT or KILL
//	ends NAME CODE            wait for its end; -1 is an end by a signal
//	tmpfs DIR SIZE, resize DIR SIZE
//	sparse FILE SIZE, flip FILE OFFSET
//	memory FILE MIB           what measured FILE PROGRAM ARG… found is less
//
// In what a program prints, ids of runs, times, sizes and the script's folder are
// replaced by words.
func TestScripts(t *testing.T) { testscript.Run(t, params(t, "testdata/script")) }

func params(t *testing.T, dir string) testscript.Params {
	data, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Dir:           dir,
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FLIGHTS", data)
			env.Values[worldKey{}] = &world{children: map[string]*child{}}
			shared := filepath.Clean(os.TempDir()) //nolint:usetesting // the one that all tests share
			for dir := env.WorkDir; dir != shared && dir != "/"; dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil { // for other users
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "as": as, "start": start, "says": says, "fills": fills, "signal": sendSignal, "ends": ends,
			"tmpfs": tmpfs, "resize": resize, "sparse": sparse, "flip": flip, "memory": memory,
		},
	}
}

type worldKey struct{}

// A world is what the commands of one script share.
type world struct {
	children map[string]*child
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// A child is a program that runs beside the script.
type child struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr lineBuffer
}

// A lineBuffer wakes who waits for more of it.
type lineBuffer struct {
	mu   sync.Mutex // guards text and end
	more *sync.Cond
	text bytes.Buffer
	end  bool
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.more.Broadcast()
	return b.text.Write(p)
}

func (b *lineBuffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = true
	b.more.Broadcast()
}

// await reports whether text that matches came before the end.
func (b *lineBuffer) await(re *regexp.Regexp) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !re.Match(b.text.Bytes()) {
		if b.end {
			return false
		}
		b.more.Wait()
	}
	return true
}

func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	if len(args) == 0 {
		ts.Fatalf("which program?")
	}
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"))
	for _, name := range []string{"WEIR_DATA", "WEIR_SYNC", "WEIR_FLIGHTS_RATE", "WEIR_FLIGHTS_OUT"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// finish shows what a program printed and compares its exit code.
func finish(ts *testscript.TestScript, cmd *exec.Cmd, want string, stdout, stderr []byte) {
	work := ts.Getenv("WORK")
	fmt.Fprint(ts.Stdout(), plain(work, string(stdout)))
	fmt.Fprint(ts.Stderr(), plain(work, string(stderr)))
	if code := strconv.Itoa(cmd.ProcessState.ExitCode()); code != want {
		ts.Fatalf("exit code %s, want %s", code, want)
	}
}

var replaced = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`), "RUN"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (ms|s)\b`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\.\d{3}\b`), "CLOCK"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (B|kB|MB)\b`), "SIZE"},
	{regexp.MustCompile(`process \d+ on \S+[^ :;,]`), "process PID on HOST"},
	{regexp.MustCompile(`from lsn \d+`), "from lsn LSN"},
	{regexp.MustCompile(`(stopped|failed|cancelled) in TIME · [0-9,]+ in · [0-9,]+ delivered`), "$1 in TIME · N in · N delivered"},
	{regexp.MustCompile(`\d+ (bytes are|bytes of it|bytes were|were delivered)`), "N $1"},
	{regexp.MustCompile(`has [1-9]\d* bytes, of`), "has N bytes, of"},
	{regexp.MustCompile(`LSN \d+`), "LSN N"},
	{regexp.MustCompile(`CRC [0-9a-f]{8}, found [0-9a-f]{8}`), "CRC A, found B"},
	{regexp.MustCompile(`\([^()]* frames, .* snapshots?\)`), "(COUNTS)"},
	{regexp.MustCompile(`at offset \d+`), "at offset N"},
}

// plain replaces what differs from run to run.
func plain(work, text string) string {
	text = strings.ReplaceAll(text, work, "$WORK")
	for _, r := range replaced {
		text = r.re.ReplaceAllString(text, r.by)
	}
	return text
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	runAs(ts, nil, args)
}

func as(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 4 || args[1] != "exits" {
		ts.Fatalf("usage: as UID exits CODE PROGRAM ARG…")
	}
	if os.Getuid() != 0 { // then file modes hold for this user, too
		runAs(ts, nil, args[2:])
		return
	}
	uid, err := strconv.ParseUint(args[0], 10, 32)
	ts.Check(err)
	runAs(ts, &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, args[2:])
}

func runAs(ts *testscript.TestScript, who *syscall.Credential, args []string) {
	cmd := command(ts, args[1:])
	if who != nil {
		ts.Check(os.Chmod(filepath.Dir(filepath.Dir(cmd.Path)), 0o755))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	finish(ts, cmd, args[0], stdout.Bytes(), stderr.Bytes())
}

func start(ts *testscript.TestScript, _ bool, args []string) {
	c := &child{cmd: command(ts, args[1:])}
	c.stderr.more = sync.NewCond(&c.stderr.mu)
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	ts.Check(c.cmd.Start())
	worldOf(ts).children[args[0]] = c
	ts.Defer(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
	})
}

func childOf(ts *testscript.TestScript, name string) *child {
	c := worldOf(ts).children[name]
	if c == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return c
}

func says(ts *testscript.TestScript, _ bool, args []string) {
	c := childOf(ts, args[0])
	if !c.stderr.await(regexp.MustCompile(args[1])) {
		ts.Fatalf("%s ended and never said %s", args[0], args[1])
	}
}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]os.Signal{"INT": os.Interrupt, "KILL": os.Kill}[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(childOf(ts, args[0]).cmd.Process.Signal(sig))
}

func ends(ts *testscript.TestScript, _ bool, args []string) {
	c := childOf(ts, args[0])
	var exit *exec.ExitError
	err := c.cmd.Wait()
	c.stderr.close()
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	finish(ts, c.cmd, args[1], c.stdout.Bytes(), c.stderr.text.Bytes())
}

func fills(ts *testscript.TestScript, _ bool, args []string) {
	size := int64(1)
	if len(args) > 1 {
		size = sizeArg(ts, args[1])
	}
	ts.Check(awaitFile(context.Background(), ts.MkAbs(args[0]), size))
}

// awaitFile returns when a file that matches pattern has at least size bytes. It
// is woken by the folder, which need not exist yet; the one above it must.
func awaitFile(ctx context.Context, pattern string, size int64) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	dir := filepath.Dir(pattern)
	if err := w.Add(filepath.Dir(dir)); err != nil {
		return err
	}
	watched := false
	for {
		if !watched && w.Add(dir) == nil {
			watched = true
		}
		names, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.Size() >= size {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.Events:
		case err := <-w.Errors:
			return err
		}
	}
}

func sizeArg(ts *testscript.TestScript, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	ts.Check(err)
	return n
}

func sparse(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_CREATE|os.O_WRONLY, 0o644)
	ts.Check(err)
	ts.Check(f.Truncate(sizeArg(ts, args[1])))
	ts.Check(f.Close())
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%d files match %s", len(names), args[0])
	}
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	ts.Check(err)
	at, b := sizeArg(ts, args[1]), make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ts.Check(err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, at)
	ts.Check(err)
	ts.Check(f.Close())
}

func memory(ts *testscript.TestScript, _ bool, args []string) {
	if got := sizeArg(ts, ts.ReadFile(args[0])); got >= sizeArg(ts, args[1])<<20 {
		ts.Fatalf("the program needed %d MiB, want less than %s", got>>20, args[1])
	}
}

// measured runs a program, writes how much memory it needed at most into a file,
// and ends as it did. It is a process of its own because a program is charged with
// what the one that starts it has at that moment, and this one has little.
func measured() {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		log.Fatalf("%s: no usage, %v", os.Args[2], err)
	}
	if err := os.WriteFile(os.Args[1], strconv.AppendInt(nil, usage.Maxrss*rssUnit, 10), 0o600); err != nil {
		log.Fatal(err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}
