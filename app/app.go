// Package app makes a program of flows: commands, flags, settings from the
// command line, the environment and weir.toml, signals, progress on the terminal,
// exit codes.
//
//	func main() { app.Main(payments) }
//
// The program then runs the flow (or goes on with an unfinished run), and has
// the commands that inspect runs: ls, show, records, check, why, impact, graph,
// export, rm, prune. What Weir itself has to say goes to standard error;
// standard output belongs to the flow.
//
// Exit codes of a run: 0 completed, and everything was delivered; 1 failed;
// 2 usage, settings or wiring; 3 unfinished, because it was stopped before its
// end, or only inputs in doubt are left; 4 it could not start: the run is in use, its definition was refused, the
// disk or a permission is missing; 5 completed with dead letters, 0 with
// --allow-dead.
package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/inspect"
)

// Exit codes.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitUnfinished = 3
	exitNoStart    = 4
	exitDead       = 5
)

// Main runs the program with the arguments, streams and environment of the
// process, and exits. With several definitions the first argument names the flow.
func Main(def *weir.Definition, more ...*weir.Definition) {
	os.Exit(Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, def, more...))
}

// Run is Main without the process: it takes the arguments behind the program's
// name and returns the exit code. Interrupts and terminations of the process
// stop the run it is in. Weir reads nothing from standard input, which belongs to
// the flow as standard output does: jsonl.From("stdin", os.Stdin) reads it.
func Run(args []string, _ io.Reader, stdout, stderr io.Writer, def *weir.Definition, more ...*weir.Definition) int {
	p := &program{stdout: stdout, stderr: stderr, defs: append([]*weir.Definition{def}, more...)}
	err := p.run(args)
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			p.complain(exit.err)
		}
		return exit.code
	default:
		p.complain(err)
		return exitFailed
	}
}

// complain says why the program ends.
func (p *program) complain(err error) {
	if p.say != nil && p.say.json != nil {
		p.say.json.Error("the program ends", slog.String("error", err.Error()))
		return
	}
	fmt.Fprintf(p.stderr, "%v\n", err)
}

// An exitError is a way to end; err is nil if everything was said.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

// A program is one invocation.
type program struct {
	stdout, stderr io.Writer
	say            *voice // of the run; nil before
	defs           []*weir.Definition
	def            *weir.Definition
	named          bool // a command was, so run is meant as such
}

func (p *program) run(args []string) error {
	if len(p.defs) > 1 {
		names := make([]string, 0, len(p.defs))
		for _, d := range p.defs {
			names = append(names, d.Name())
		}
		if len(args) == 0 {
			return usage("which flow? The first argument names it: %s", strings.Join(names, ", "))
		}
		i := slices.Index(names, args[0])
		switch {
		case i >= 0:
			p.def, args = p.defs[i], args[1:]
		case inspect.Has(args[0]) && args[0] != "redrive": // needs no flow
			p.def = p.defs[0]
		default:
			return usage("there is no flow %q%s", args[0], hint(args[0], names))
		}
	} else {
		p.def = p.defs[0]
	}
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args, p.named = args[0], args[1:], true
	}
	if command == "help" && len(args) > 0 {
		command, args = args[0], []string{"--help"}
	}
	switch command {
	case "run":
		return p.runFlow(args)
	case "resume":
		return p.resume(args)
	case "replay":
		return p.replay(args)
	case "redrive":
		return p.redrive(args)
	case "verify":
		return p.verify(args)
	case "config":
		return p.config(args)
	case "graph":
		return p.graph(args)
	case "help":
		p.help()
		return nil
	}
	if inspect.Has(command) {
		return p.inspect(command, args)
	}
	return usage("there is no command %q%s", command, hint(command, commandNames()))
}
