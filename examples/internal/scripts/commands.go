package scripts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
	"github.com/rogpeppe/go-internal/testscript"
)

// Commands are what scripts can say beside the commands of testscript:
//
//	exits CODE PROGRAM ARG…   run a program; its exit code must be CODE
//	start NAME PROGRAM ARG…   run a program beside the script
//	says NAME REGEXP          wait until its standard error matches
//	prints NAME REGEXP        the same of its standard output
//	fills GLOB [BYTES]        wait until a file that matches holds that much, or anything
//	signal NAME SIGNAL        INT or KILL
//	ends NAME CODE            wait for its end; -1 is an end by a signal
//
// What a program prints goes through [Plain]. Of the script's environment variables
// it gets HOME and those that the variable PASSED names.
func Commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": exits, "start": start, "says": says, "prints": prints, "fills": fills, "signal": sendSignal, "ends": ends,
	}
}

// Setup prepares a script for the commands.
func Setup(env *testscript.Env) { env.Values[worldKey{}] = &world{children: map[string]*Child{}} }

type worldKey struct{}

// A world is what the commands of one script share.
type world struct {
	children map[string]*Child
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func childOf(ts *testscript.TestScript, name string) *Child {
	c := worldOf(ts).children[name]
	if c == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return c
}

// Command is a program as a script names it, in the script's folder.
func Command(ts *testscript.TestScript, args []string) *exec.Cmd {
	if len(args) == 0 {
		ts.Fatalf("which program?")
	}
	path, err := exec.LookPath(args[0])
	if strings.ContainsRune(args[0], '/') {
		path, err = ts.MkAbs(args[0]), nil
	}
	ts.Check(err)
	cmd := exec.CommandContext(context.Background(), path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"))
	for name := range strings.FieldsSeq(ts.Getenv("PASSED")) {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// Finish shows what a program printed and compares its exit code.
func Finish(ts *testscript.TestScript, cmd *exec.Cmd, want string, stdout, stderr []byte) {
	work := ts.Getenv("WORK")
	fmt.Fprint(ts.Stdout(), Plain(work, string(stdout)))
	fmt.Fprint(ts.Stderr(), Plain(work, string(stderr)))
	if code := strconv.Itoa(cmd.ProcessState.ExitCode()); code != want {
		ts.Fatalf("exit code %s, want %s", code, want)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	RunAs(ts, nil, args)
}

// RunAs is exits as another user, if who is not nil.
func RunAs(ts *testscript.TestScript, who *syscall.Credential, args []string) {
	cmd := Command(ts, args[1:])
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
	Finish(ts, cmd, args[0], stdout.Bytes(), stderr.Bytes())
}

func start(ts *testscript.TestScript, _ bool, args []string) {
	c, err := Start(Command(ts, args[1:]))
	ts.Check(err)
	worldOf(ts).children[args[0]] = c
	ts.Defer(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Ends()
		}
	})
}

func says(ts *testscript.TestScript, _ bool, args []string) {
	if !childOf(ts, args[0]).Says(regexp.MustCompile(args[1])) {
		ts.Fatalf("%s ended and never said %s", args[0], args[1])
	}
}

func prints(ts *testscript.TestScript, _ bool, args []string) {
	if !childOf(ts, args[0]).Prints(regexp.MustCompile(args[1])) {
		ts.Fatalf("%s ended and never printed %s", args[0], args[1])
	}
}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]os.Signal{"INT": os.Interrupt, "KILL": os.Kill}[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(childOf(ts, args[0]).Process.Signal(sig))
}

func ends(ts *testscript.TestScript, _ bool, args []string) {
	c := childOf(ts, args[0])
	var exit *exec.ExitError
	if err := c.Ends(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	Finish(ts, c.Cmd, args[1], c.stdout.text.Bytes(), c.stderr.text.Bytes())
}

func fills(ts *testscript.TestScript, _ bool, args []string) {
	size := int64(1)
	if len(args) > 1 {
		var err error
		size, err = strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
	}
	ts.Check(AwaitFile(context.Background(), ts.MkAbs(args[0]), size))
}

// AwaitFile returns when a file that matches pattern has at least size bytes. It
// is woken by the folder, which need not exist yet; the one above it must.
func AwaitFile(ctx context.Context, pattern string, size int64) error {
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
