// Package inspect is the commands that look at runs: ls, show, records, why and
// the others that need no code of a flow. cmd/weir consists of them; a program
// made with package app has them beside its own.
//
//	if inspect.Has(args[0]) {
//		return inspect.Run(ctx, args, env)
//	}
//
// Results go to Env.Stdout, with --json as JSON: one value, or one line for each
// record. What is said beside them goes to Env.Stderr.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/nearest"
	"github.com/weirflow/weir/journal"
)

// Exit codes.
const (
	OK         = 0
	Damaged    = 1 // check found damage; any command: it failed
	Usage      = 2 // the command line makes no sense, or names what there is not
	Open       = 3 // check: nothing is wrong, the end is still being written
	Unreadable = 4 // nothing could be said: no access, not a run, in use
)

// An Env is the world around the commands.
type Env struct {
	Program string              // as people call it; "" means weir
	Stdout  io.Writer           // results
	Stderr  io.Writer           // everything else
	Getenv  func(string) string // nil means that no variable is set
	Dir     string              // what relative paths are relative to; must be absolute
	Data    string              // data directory if neither --data nor WEIR_DATA says; "" means .weir
	Run     string              // the run meant where none is named, such as the program's only flow; "" means none
	Now     func() time.Time    // for ages of runs, and for decisions and signals; needed by prune, effects resolve and signal
	Width   int                 // of the terminal, to which lines are cut; zero means no terminal: nothing is cut
}

// A Command is one of the inspection commands.
type Command struct {
	Name    string
	Args    string // as in usage
	Summary string

	min, max int // arguments
	flags    func(*pflag.FlagSet, *options)
	run      func(*call) error
}

// Has tells whether there is a command of that name.
func Has(name string) bool {
	return slices.ContainsFunc(Commands(), func(c Command) bool { return c.Name == name })
}

// options are what flags set.
type options struct {
	data  string
	json  bool
	help  bool
	force bool

	from, to, last uint64
	limit          int
	follow         bool
	depth, chain   int
	fan            int
	format         string
	output         string
	dryRun         bool
	keep           int
	older          string
	key            string

	all, done, notDone, retry, failed, goOn bool
	stage, result, reason, by               string
}

// A call is one command being run.
type call struct {
	options
	ctx  context.Context //nolint:containedctx // a call lives as long as its context
	env  Env
	args []string
	data string // absolute
}

// usageError is a fault of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// opaque says that nothing could be said.
type opaque struct{ error }

func (e opaque) Unwrap() error { return e.error }

// exit ends a command that has said what there is to say.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// Run runs the command that args[0] names with the arguments that follow, and
// returns the exit code. It ends early when ctx is done. Beside the commands there
// is help.
func Run(ctx context.Context, args []string, env Env) int {
	if env.Program == "" {
		env.Program = "weir"
	}
	if env.Getenv == nil {
		env.Getenv = func(string) string { return "" }
	}
	err := run(ctx, args, env)
	var (
		code  exit
		usage usageError
		gone  *history.NotFoundError
		noRun *history.NoRunError
		none  opaque
	)
	switch {
	case err == nil:
		return OK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return OK // following was ended by hand
	}
	fmt.Fprintf(env.Stderr, "%s: %v\n", env.Program, err)
	switch {
	case errors.As(err, &usage), errors.As(err, &gone):
		return Usage
	case errors.As(err, &none), errors.As(err, &noRun), errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, journal.ErrInUse):
		return Unreadable
	default:
		return Damaged
	}
}

func run(ctx context.Context, args []string, env Env) error {
	if len(args) == 0 {
		fmt.Fprintf(env.Stderr, "usage: %s COMMAND …\n\n", env.Program)
		Help(env.Stderr, env.Program)
		return exit(Usage)
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprintf(env.Stdout, "usage: %s COMMAND …\n\n", env.Program)
		Help(env.Stdout, env.Program)
		return nil
	}
	cmd, args := command(args)
	if cmd == nil {
		return usagef("there is no command %q%s; %s help lists them", args[0], meant(args[0]), env.Program)
	}
	c := &call{ctx: ctx, env: env}
	set := pflag.NewFlagSet(cmd.Name, pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.SortFlags = false
	if cmd.flags != nil {
		cmd.flags(set, &c.options)
	}
	set.StringVar(&c.options.data, "data", "", "data `directory` (or WEIR_DATA; .weir if neither is set)")
	set.BoolVar(&c.json, "json", false, "write JSON")
	set.BoolVarP(&c.help, "help", "h", false, "show this")
	if err := set.Parse(args); err != nil {
		return usageError{fmt.Errorf("%s: %w; %s %s --help shows its flags", cmd.Name, err, env.Program, cmd.Name)}
	}
	if c.help {
		fmt.Fprintf(env.Stdout, "%s %s %s\n\n%s.\n\n%s", env.Program, cmd.Name, cmd.Args, upper(cmd.Summary), Flags(set))
		return nil
	}
	c.args = set.Args()
	if len(c.args) < cmd.min && strings.HasPrefix(cmd.Args, "RUN") && env.Run != "" {
		c.args = slices.Insert(c.args, 0, env.Run)
	}
	if n := len(c.args); n < cmd.min || n > cmd.max {
		return usagef("usage: %s %s %s", env.Program, cmd.Name, cmd.Args)
	}
	c.data = c.path(firstOf(c.options.data, env.Getenv("WEIR_DATA"), env.Data, ".weir"))
	return cmd.run(c)
}

// command returns the command that args begin with, whose name may be two words,
// and its arguments; or nil, and args.
func command(args []string) (*Command, []string) {
	commands := Commands()
	for words := min(2, len(args)); words > 0; words-- {
		name := strings.Join(args[:words], " ")
		if i := slices.IndexFunc(commands, func(c Command) bool { return c.Name == name }); i >= 0 {
			return &commands[i], args[words:]
		}
	}
	return nil, args
}

// Flags is the usage of flags.
func Flags(set *pflag.FlagSet) string {
	const noise = "[=true|false]" // which pflag puts behind booleans
	return strings.ReplaceAll(set.FlagUsages(), noise, strings.Repeat(" ", len(noise)))
}

// Help lists the commands but for those that are listed elsewhere.
func Help(w io.Writer, program string, elsewhere ...string) {
	t := table{indent: "  "}
	for _, c := range Commands() {
		if !slices.Contains(elsewhere, c.Name) {
			t.row(c.Name, c.Args, c.Summary)
		}
	}
	t.write(w, 0)
	fmt.Fprintf(w, "\nRUN is a run's id or the beginning of it, a flow (its newest run) or a path.\n"+
		"%s COMMAND --help shows flags; every command has --json and --data.\n", program)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// meant suggests a command for one that there is not.
func meant(name string) string {
	var names []string
	for _, c := range Commands() {
		if strings.HasPrefix(c.Name, name) || strings.HasPrefix(name, c.Name) {
			return fmt.Sprintf(", do you mean %s?", c.Name)
		}
		names = append(names, c.Name)
	}
	if best := nearest.Name(name, names); best != "" {
		return fmt.Sprintf(", do you mean %s?", best)
	}
	return ""
}

// path makes a path absolute.
func (c *call) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(c.env.Dir, p)
}

// open opens the run that the first argument names.
func (c *call) open() (*history.Run, error) {
	dir, err := c.find(c.args[0])
	if err != nil {
		return nil, err
	}
	return history.Open(dir)
}

func (c *call) find(name string) (string, error) {
	dir, err := history.Find(c.data, name)
	var gone *history.NotFoundError
	if errors.As(err, &gone) && strings.HasPrefix(gone.Why, "there is no data directory") {
		return "", fmt.Errorf("%w: say where runs are with --data or WEIR_DATA", err)
	}
	if err != nil {
		return "", err
	}
	return c.path(dir), nil
}

// with opens the run that the first argument names for the time of fn.
func (c *call) with(fn func(*history.Run) error) error {
	r, err := c.open()
	if err != nil {
		return err
	}
	return errors.Join(fn(r), r.Close())
}
