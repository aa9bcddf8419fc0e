package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
	"github.com/weirflow/weir/examples/internal/scripts"
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
// testscript and those of scripts.Commands there are these:
//
//	as UID exits CODE …       exits as another user
//	tmpfs DIR SIZE, resize DIR SIZE
//	sparse FILE SIZE, flip FILE OFFSET
//	memory FILE MIB           what measured FILE PROGRAM ARG… found is less
func TestScripts(t *testing.T) { testscript.Run(t, params(t, "testdata/script")) }

func params(t *testing.T, dir string) testscript.Params {
	data, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	cmds := scripts.Commands()
	maps.Copy(cmds, map[string]func(*testscript.TestScript, bool, []string){
		"as": as, "tmpfs": tmpfs, "resize": resize, "sparse": sparse, "flip": flip, "memory": memory,
	})
	return testscript.Params{
		Dir:           dir,
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FLIGHTS", data)
			env.Setenv("PASSED", "WEIR_DATA WEIR_SYNC WEIR_FLIGHTS_RATE WEIR_FLIGHTS_OUT")
			scripts.Setup(env)
			shared := filepath.Clean(os.TempDir()) //nolint:usetesting // the one that all tests share
			for dir := env.WorkDir; dir != shared && dir != "/"; dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil { // for other users
					return err
				}
			}
			return nil
		},
		Cmds: cmds,
	}
}

func as(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 4 || args[1] != "exits" {
		ts.Fatalf("usage: as UID exits CODE PROGRAM ARG…")
	}
	if os.Getuid() != 0 { // then file modes hold for this user, too
		scripts.RunAs(ts, nil, args[2:])
		return
	}
	uid, err := strconv.ParseUint(args[0], 10, 32)
	ts.Check(err)
	scripts.RunAs(ts, &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, args[2:])
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
