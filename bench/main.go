// Bench measures Weir against the bare physical work and against peers that do
// the same work with the same durability.
//
//	go run . [flags] [benchmark …]     run benchmarks (default: all), print tables, write results/*.json
//	go run . [flags] report            write a Markdown summary of results/*.json
//
// Machines are noisy and differ, so every figure that counts is a ratio of two
// programs that ran interleaved, A B A B, in one process: medians, with the
// spread beside them. Nothing is extrapolated. What a benchmark does, and what
// its floor includes, is part of its report.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// A benchmark measures one workload.
type benchmark struct {
	id, title string
	run       func(ctx context.Context, e *env, r *Report) error
}

var benchmarks = []benchmark{
	{"b1", "append: records into a log, against the bare writes and against other logs", runAppend},
	{"b2", "chain: records through 1, 3 and 10 stages, against encoding them", runChains},
	{"b3", "latency: paced records through three stages, against fdatasync", runLatency},
	{"b4", "effects: an action that does nothing, one and 64 in flight, and after a long history", runEffects},
	{"b5", "steps: three recorded steps for each input, against other durable executors", runSteps},
	{"b6", "recovery: kill -9 after histories of different length", runRecovery},
	{"b7", "verify: a run executed again and compared, against the run itself", runVerify},
	{"b8", "steady: memory and allocations over a long run", runSteady},
	{"b9", "idle: a hundred stages with nothing to do", runIdle},
	{"b10", "bytes: what the log holds beside the payloads", runBytes},
	{"b12", "start: from the definition to the first record", runStart},
}

// env is what a benchmark runs in.
type env struct {
	dir    string // scratch directory, on the disk that is measured
	short  bool   // prove that it runs; the figures mean little
	rounds int    // how often each program runs in each case
	only   string // cases whose name contains this
	sole   string // the one program to run, to profile it; empty means all
}

// scratch makes a fresh directory. The caller removes it.
func (e *env) scratch() (string, error) { return os.MkdirTemp(e.dir, "run-") }

// wants tells whether a case is to be measured.
func (e *env) wants(name string) bool { return strings.Contains(name, e.only) }

// runs tells whether a program is to be run.
func (e *env) runs(program string) bool { return e.sole == "" || e.sole == program }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "child" { // of a benchmark, with arguments of its own
		return child(args[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var e env
	dir := flags.String("dir", "", "measure on the disk of this directory (default: the system's temporary directory)")
	out := flags.String("out", "results", "directory for the JSON results")
	markdown := flags.String("markdown", "../docs/performance.md", "file that report writes")
	profile := flags.String("cpuprofile", "", "write a CPU profile of the run to this file")
	traced := flags.String("trace", "", "write an execution trace of the run to this file")
	flags.BoolVar(&e.short, "short", false, "prove in under a minute that everything runs; the figures mean little")
	flags.IntVar(&e.rounds, "rounds", 5, "how often each program runs in each case")
	flags.StringVar(&e.only, "only", "", "measure only cases whose name contains this")
	registerSizes(flags)
	flags.StringVar(&e.sole, "program", "", "run only this program of each case, to profile it; nothing is compared")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: bench [flags] [%s | report]\n", strings.Join(ids(), " | "))
		flags.PrintDefaults()
	}
	names, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.Equal(names, []string{"report"}) {
		return writeMarkdown(*markdown, *out)
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if e.short {
		e.rounds = 1
	}
	if *dir != "" { // the servers' and the peers' files, too
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		if err := os.Setenv("TMPDIR", abs); err != nil {
			return err
		}
	}
	if e.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(e.dir)
	if *profile != "" {
		stop, err := profileTo(*profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	if *traced != "" {
		stop, err := traceTo(*traced)
		if err != nil {
			return err
		}
		defer stop()
	}
	return runAll(ctx, &e, chosen, *out, "go run . "+strings.Join(args, " "))
}

// parse reads flags before, between and behind names.
func parse(flags *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return names, nil
		}
		names, args = append(names, flags.Arg(0)), flags.Args()[1:]
	}
}

// runAll runs benchmarks one after the other; one that fails does not keep the
// others from running.
func runAll(ctx context.Context, e *env, chosen []benchmark, out, command string) error {
	var failed []error
	for _, b := range chosen {
		r := newReport(b, e, strings.TrimSpace(command))
		if err := b.run(ctx, e, r); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", b.id, err))
			continue
		}
		r.finish()
		r.print(os.Stdout)
		if err := r.save(filepath.Join(out, b.id+".json")); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func choose(names []string) ([]benchmark, error) {
	if len(names) == 0 || slices.Equal(names, []string{"all"}) {
		return benchmarks, nil
	}
	var chosen []benchmark
	for _, name := range names {
		i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.id == name })
		if i < 0 {
			return nil, fmt.Errorf("no benchmark %q; there are %s and all", name, strings.Join(ids(), ", "))
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, nil
}

func ids() []string {
	var s []string
	for _, b := range benchmarks {
		s = append(s, b.id)
	}
	return s
}

// smaller is n, or little in a short run.
func (e *env) smaller(n int) int {
	if e.short {
		return max(n/50, 1)
	}
	return n
}

// chosen are the programs that are to be run.
func (e *env) chosen(programs []program) []program {
	return slices.DeleteFunc(programs, func(p program) bool { return !e.runs(p.name) })
}
