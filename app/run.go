package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/inspect"
	"github.com/weirflow/weir/topology"
)

// plan is what the command line, the environment and the file ask for.
type plan struct {
	own     own
	config  any               // the flow's settings; nil if it has none
	sources map[string]string // of the flow's settings
	all     []*setting        // Weir's own and the flow's, for the config command
	rest    []string          // arguments that are no flags
}

// prepare reads flags, environment and file, strongest last.
func (p *program) prepare(command string, args []string, more func(*pflag.FlagSet)) (*plan, error) {
	pl := &plan{own: defaults(), sources: map[string]string{}}
	own, err := pl.own.settings()
	if err != nil {
		return nil, usage("%w", err)
	}
	var config reflect.Value
	var flow []*setting
	if d := p.def.Defaults(); d != nil {
		config = reflect.New(reflect.TypeOf(d)).Elem()
		config.Set(reflect.ValueOf(d))
		if flow, err = fields(config, "WEIR_"+strings.ToUpper(p.def.Name())+"_"); err != nil {
			return nil, usage("flow %s: %w", p.def.Name(), err)
		}
	}
	pl.all = slices.Concat(own, flow)

	set := pflag.NewFlagSet(command, pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.SortFlags = false
	path := set.String("config", "weir.toml", "`file` with settings")
	help := set.BoolP("help", "h", false, "show this and end")
	if more != nil {
		more(set)
	}
	if err := errors.Join(addFlags(set, flow), addFlags(set, own)); err != nil {
		return nil, usage("flow %s: %w", p.def.Name(), err)
	}
	if err := set.Parse(args); err != nil {
		return nil, usage("%s: %w%s", command, err, hintFlag(err, set))
	}
	if *help {
		p.usage(command, inspect.Flags(set))
		return nil, exitError{code: exitOK}
	}
	if err := p.ladder(pl, own, flow, *path, set.Changed("config")); err != nil {
		return nil, usage("%w", err)
	}
	if config.IsValid() {
		pl.config = config.Interface()
	}
	for _, s := range flow {
		pl.sources[s.name] = s.source
	}
	pl.rest = set.Args()
	return pl, nil
}

// ladder applies the sources of settings, the strongest last.
func (p *program) ladder(pl *plan, own, flow []*setting, path string, named bool) error {
	f, err := readFile(path, named)
	if err != nil {
		return err
	}
	var tables []string
	for _, d := range p.defs {
		tables = append(tables, d.Name())
	}
	if err := f.apply(f.values, "", own, tables...); err != nil {
		return err
	}
	if table, ok := f.values[p.def.Name()]; ok {
		values, ok := table.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %s is a value, want the table [%s]", f.path, p.def.Name(), p.def.Name())
		}
		if err := f.apply(values, "["+p.def.Name()+"] ", flow); err != nil {
			return err
		}
	}
	if err := fromEnvironment(pl.all, os.LookupEnv); err != nil {
		return err
	}
	return fromFlags(pl.all)
}

// hintFlag names the flag that was meant.
func hintFlag(err error, set *pflag.FlagSet) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	var names []string
	set.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if hint := hint(unknown.GetSpecifiedName(), names); strings.HasPrefix(hint, "; did") {
		return strings.Replace(hint, `"`, `"--`, 1)
	}
	return "; --help lists the flags"
}

// options turns a plan into what the root package wants.
func (p *program) options(pl *plan, log *slog.Logger) weir.Options {
	o := weir.Options{
		Dir: string(pl.own.Data), RequireDir: pl.own.RequireData,
		Config: pl.config, Sources: pl.sources,
		Sync: pl.own.Sync.mode(), SegmentSize: int64(pl.own.SegmentSize),
		CheckpointEvery: time.Duration(pl.own.Checkpoint), Manual: pl.own.Startup == "manual", Logger: log,
	}
	switch {
	case pl.own.New || pl.own.Unfinished == "new":
		o.Continue = weir.StartNew
	case pl.own.Unfinished == "fail":
		o.Continue = weir.RefuseUnfinished
	}
	return o
}

// runFlow runs the flow, or goes on with its newest run.
func (p *program) runFlow(args []string) error {
	var ask changes
	pl, err := p.prepare("run", args, ask.flags)
	if err != nil {
		return err
	}
	if len(pl.rest) > 0 {
		return usage("run takes no arguments, got %q; to go on with a run: %s resume %s", pl.rest[0], p.def.Name(), pl.rest[0])
	}
	return p.execute(pl, "", &ask)
}

// execute runs to the end, going on with the run named resume if that is not
// empty, and turns the end into an exit code.
func (p *program) execute(pl *plan, resume string, ask *changes) error {
	return p.watch(pl, func(o weir.Options) (*weir.Run, error) {
		o.Run = resume
		ask.options(&o)
		return p.def.Start(context.Background(), o)
	})
}

// watch has start begin a run, shows it to its end, obeying signals, and turns that
// into an exit code.
func (p *program) watch(pl *plan, start func(weir.Options) (*weir.Run, error)) error {
	say := newVoice(p.stderr, pl.own.LogFormat == "json")
	p.say = say
	o := p.options(pl, say.logger())
	show := newProgress(p.stderr, say)
	o.Observer = show.observer()

	signals := catch()
	r, err := start(o)
	if err != nil {
		signal.Stop(signals)
		return p.refused(err)
	}
	show.begin(r)
	if o.Manual {
		say.line("the run begins at the signal USR1: kill -USR1 %d", os.Getpid())
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	end := obey(signals, func() {
		limit, done := context.WithTimeout(ctx, time.Duration(pl.own.ShutdownTimeout))
		defer done()
		_ = r.Stop(limit) // Wait says how it ended
	}, r.Cancel, r.Begin, say.line)
	sum, err := r.Wait()
	end()
	show.end()
	p.closing(say, sum, err)
	return exitFor(sum, err, pl.own.AllowDead)
}

// exitFor is the exit code for a run's end.
func exitFor(sum weir.Summary, err error, allowDead bool) error {
	switch sum.Status {
	case weir.Completed:
		switch {
		case err != nil: // closing said it
			return exitError{code: exitFailed}
		case sum.Dead > 0 && !allowDead:
			return exitError{code: exitDead}
		}
		return nil
	case weir.Stopped:
		if sum.Endless && sum.InDoubt == 0 && (sum.Dead == 0 || allowDead) {
			return nil
		}
		return exitError{code: exitUnfinished}
	case weir.Cancelled:
		return exitError{code: exitUnfinished}
	default:
		return exitError{code: exitFailed}
	}
}

// refused turns an error of Start into an exit code and words.
func (p *program) refused(err error) error {
	var wiring *topology.ValidationError
	var changed *weir.DefinitionError
	var known exitError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &wiring):
		return exitError{exitUsage, err}
	case errors.As(err, &changed):
		return exitError{exitNoStart, fmt.Errorf("%w\n%[2]s resume %[3]s --plan shows where each stage would start; %[2]s --new starts another run", err, p.def.Name(), changed.Run)}
	case errors.Is(err, weir.ErrInUse):
		return exitError{exitNoStart, fmt.Errorf("%w, or start another run beside it with --new", err)}
	case errors.Is(err, weir.ErrNoDir):
		return exitError{exitNoStart, fmt.Errorf("%w; create it, or leave out --require-data", err)}
	case errors.Is(err, weir.ErrUnfinished):
		return exitError{exitNoStart, fmt.Errorf("%w: --unfinished continue, or --new", err)}
	case errors.Is(err, fs.ErrPermission):
		return exitError{exitNoStart, fmt.Errorf("%w; give access to it, or name another data directory with --data", err)}
	}
	return exitError{exitNoStart, err}
}

// config shows the effective settings and where each came from.
func (p *program) config(args []string) error {
	pl, err := p.prepare("config", args, nil)
	if err != nil {
		return err
	}
	width := 0
	for _, s := range pl.all {
		width = max(width, len(s.name))
	}
	for _, s := range pl.all {
		value := fmt.Sprint(s.value.Interface())
		if s.secret {
			value = "(secret)"
		}
		fmt.Fprintf(p.stdout, "%-*s  %-24s  %s\n", width, s.name, value, s.source)
	}
	return nil
}
