package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
)

// stepsEach is how many recorded steps an input has.
const stepsEach = 3

// A stepper is a program that performs stepsEach recorded steps for each input.
type stepper struct {
	name    string
	synced  bool   // each step is durable before the next begins
	build   string // folder of the program below peers; empty for Weir
	args    []string
	servers bool        // it needs PostgreSQL
	inputs  map[int]int // by how many are performed at once

	binary string
	failed error  // why it was not measured
	sync   string // what its database says about durability

	syncs     map[int]float64 // for each step, by how many inputs are performed at once
	uncounted error           // why syncs were not counted
}

func steppers() []*stepper {
	some := func(one, many int) map[int]int { return map[int]int{1: one, 64: many} }
	return []*stepper{
		{name: "weir", synced: true, args: []string{"-class", "keyed by input"}, inputs: some(1500, 30_000)},
		{name: weirIdempotent, synced: true, args: []string{"-class", "idempotent"}, inputs: some(1500, 30_000)},
		{name: "DBOS on SQLite", synced: true, build: "dbos", inputs: some(500, 500)},
		{name: "DBOS on SQLite, as it comes", build: "dbos", args: []string{"-unsynced"}, inputs: some(1500, 1500)},
		{name: "DBOS on PostgreSQL", synced: true, build: "dbos", servers: true, inputs: some(500, 1500)},
		{name: "River on PostgreSQL", synced: true, build: "river", servers: true, inputs: some(500, 1500)},
		{name: "go-workflows on SQLite", synced: true, build: "goworkflows", inputs: some(60, 300)},
		{name: "Temporal on SQLite", synced: true, build: "temporal", inputs: some(30, 200)},
	}
}

// A stepped is what a stepper prints; see peers/peer.
type stepped struct {
	Inputs  int           `json:"inputs"`
	Elapsed time.Duration `json:"elapsed_ns"`
	CPU     time.Duration `json:"cpu_ns"`
	Sync    string        `json:"sync"`
}

// stepChild is Weir as a stepper, in a process of its own as its peers are.
func stepChild(args []string) error {
	flags := flag.NewFlagSet("steps", flag.ContinueOnError)
	dir := flags.String("dir", "", "")
	class := flags.String("class", "", "")
	at := flags.Int("concurrent", 1, "")
	n := flags.Int("inputs", 1, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	got, err := timeSteps(context.Background(), filepath.Join(*dir, "data"), *class, *n, *at)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

// timeSteps performs n inputs, so many at once, and some before to warm up.
func timeSteps(ctx context.Context, dir, class string, n, at int) (stepped, error) {
	warm := n/10 + at
	var watch stopwatch
	var s Sample
	delivered := 0 // the sink's
	sink := &counting[Small]{on: func(batch []weir.Delivery[Small]) {
		for range batch {
			switch delivered++; delivered {
			case warm:
				watch = startWatch()
			case warm + n:
				watch.stop(&s)
			}
		}
	}}
	sum, err := stepsFlow(warm+n, at, class, sink).Run(ctx, options(dir, syncOf("group")))
	if err := completed(sum, err, sink.n.Load(), int64(warm+n)); err != nil {
		return stepped{}, err
	}
	return stepped{n, s.Elapsed, s.CPU, "sync = group: one fdatasync for all that is waited for"}, nil
}

// stepsFlow has an orchestration perform stepsEach effects for each input, one after
// the other.
func stepsFlow(n, inFlight int, class string, sink weir.Sink[Small]) *weir.Definition {
	e := nothing(class, func() {})
	names := [stepsEach]string{"one", "two", "three"}
	return weir.Define("steps", func(f *weir.Flow) {
		in := weir.From(f, "source", weir.Source[Small](&cyclic[Small]{values: valuesOf(makeSmall), n: n}))
		done, _ := weir.Orchestrate(in, "steps", func(s *weir.Steps, v Small, emit weir.Emit[Small]) error {
			for _, step := range names {
				var err error
				if v, err = weir.Do(s, step, e, v); err != nil {
					return err
				}
			}
			emit(v)
			return nil
		}, weir.Using(e), weir.Concurrency(inFlight))
		weir.Into(done, "sink", sink)
	})
}

// nothing is an effect that answers with its input.
func nothing(class string, each func()) effect.Effect[Small, Small] {
	if class == "idempotent" {
		return effect.Idempotent("nothing", func(_ context.Context, v Small) (Small, error) {
			each()
			return v, nil
		})
	}
	return effect.KeyedByInput("nothing", func(_ context.Context, _ effect.Call, v Small) (Small, error) {
		each()
		return v, nil
	})
}

func runSteps(ctx context.Context, e *env, r *Report) (err error) {
	r.about(stepsAbout)
	all := steppers()
	if e.short {
		all = all[:2]
		r.about("This short run leaves the peers out: to build them takes minutes.")
	}
	b, err := newBenchOfSteps(ctx, e, all)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, at := range []int{1, 64} {
		name := fmt.Sprintf("concurrent=%d", at)
		if !e.wants(name) {
			continue
		}
		got, err := b.measure(ctx, at)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.keep(name, got)
		b.report(r, at, got)
	}
	b.missing(r)
	return nil
}

// missing tells what was not measured, and why.
func (b *benchOfSteps) missing(r *Report) {
	for _, s := range b.all {
		if s.failed != nil {
			r.about(fmt.Sprintf("%s was not measured: %s", s.name, strings.TrimSpace(s.failed.Error())))
		} else if s.uncounted != nil {
			r.about(fmt.Sprintf("The syncs of %s were not counted: %s", s.name, strings.TrimSpace(s.uncounted.Error())))
		}
	}
}

// measure runs the steppers in turn. One that fails is left out from then on.
func (b *benchOfSteps) measure(ctx context.Context, at int) (map[string][]Sample, error) {
	var programs []program
	for _, s := range b.all {
		if !b.e.runs(s.name) {
			continue
		}
		programs = append(programs, program{s.name, func(ctx context.Context) (Sample, error) {
			if s.failed != nil {
				return Sample{}, nil
			}
			got, err := b.run(ctx, s, at, b.e.smaller(s.inputs[at]))
			if err != nil {
				s.failed = err
				return Sample{}, context.Cause(ctx)
			}
			s.sync = got.Sync
			return Sample{Records: int64(got.Inputs * stepsEach), Elapsed: got.Elapsed, CPU: got.CPU}, nil
		}})
	}
	got, err := interleave(ctx, b.e.rounds, programs)
	if err != nil {
		return nil, err
	}
	for _, s := range b.all {
		if s.failed != nil {
			delete(got, s.name)
			if s.build == "" {
				return nil, s.failed
			}
		}
	}
	for _, s := range b.all {
		if s.failed == nil && b.e.runs(s.name) && !b.e.short {
			n, err := b.countSyncs(ctx, s, at)
			if err != nil {
				s.uncounted = err
				continue
			}
			s.syncs[at] = n
		}
	}
	return got, nil
}

// weirIdempotent is Weir recording what the peers do: outcomes, and no intents.
const weirIdempotent = "weir, idempotent effects"

func (b *benchOfSteps) report(r *Report, at int, got map[string][]Sample) {
	t := r.table(fmt.Sprintf("B5 concurrent=%d: %d steps for each input; %d runs each", at, stepsEach, b.e.rounds),
		fmt.Sprintf("concurrent=%d", at), "steps/s", "spread", "weir is", "CPU/step", "syncs/step", "durability")
	rate := func(name string) float64 { return figure(got[name], Sample.rate).Median }
	weir := rate("weir")
	best, which, behind := 0.0, "", ""
	for _, s := range b.all {
		ss, ok := got[s.name]
		if !ok {
			if s.failed != nil {
				t.add(s.name, "", "", "", "", "", "not measured, see above")
			}
			continue
		}
		v := rate(s.name)
		syncs, cpu := "", nanoseconds(figure(ss, Sample.cpuPerRecord).Median)
		if n, ok := s.syncs[at]; ok {
			syncs = three(n)
		}
		if s.servers {
			cpu += " + server"
		}
		t.add(s.name, count(v), spread(figure(ss, Sample.rate)), ratio(weir/v), cpu, syncs, s.sync)
		if s.build == "" || !s.synced {
			continue
		}
		if v > best {
			best, which = v, s.name
		}
		if v >= weir {
			behind = s.name
		}
	}
	if b.e.short || b.e.sole != "" {
		return
	}
	switch {
	case best == 0:
		r.verdict(false, fmt.Sprintf("B5 concurrent=%d", at), "no peer was measured")
	case at == 1:
		r.verdict(behind == "", "B5 concurrent=1: ahead of each peer at equal sync", "%.1f × the best, %s (%s, %s steps/s)", weir/best, which, count(weir), count(best))
	default:
		for _, name := range []string{"weir", weirIdempotent} {
			if name != "weir" && len(got[name]) == 0 {
				continue // -only leaves it out
			}
			r.verdict(rate(name) >= 20*best, fmt.Sprintf("B5 concurrent=%d: %s ≥ 20 × the best peer at equal sync", at, name), "%.1f × %s (%s, %s steps/s)", rate(name)/best, which, count(rate(name)), count(best))
		}
	}
}

const stepsAbout = `Three recorded steps for each input, one after the other; a step does nothing and returns what it is given, a payload of 55 bytes. Each program is a
process of its own that warms up with a tenth of its inputs and times the others. Weir: an orchestration that calls weir.Do three times and emits, between a
source and a counting sink; an input counts when it is delivered, which it is when everything before is durable. "keyed by input" effects (the row "weir")
record an intent that is durable before the call, and the outcome; idempotent ones the outcome only, durable before the next call, which is
what the peers do. DBOS: RunWorkflow with three RunAsStep from so many goroutines, each waiting for the result. River: resumable jobs, all inserted before the
clock starts, each step checkpointed in a transaction (ResumableSetStepTx), with the shortest fetch cooldown. go-workflows and Temporal: a workflow of three
activities, started from so many goroutines; of go-workflows an input counts when the function returns. Temporal is its server in the process, set up as the
development server is, over gRPC on the loopback.

Equal sync: every commit, or group of them, is synced before anyone goes on. SQLite runs with a WAL and synchronous = FULL, which go-workflows has by default and
which DBOS and Temporal are told to; "as it comes" DBOS sets NORMAL, which syncs at checkpoints of the WAL only and loses steps when the power goes; it is not
compared. PostgreSQL is a server of its own with a fresh data directory, on a Unix socket, with its default settings (fsync and synchronous_commit on). Syncs are
counted in further runs, as the difference of two of different length: those of the process by strace, those of PostgreSQL's WAL by the server itself. CPU is that of
the process; a server's is not in it.

What is not equal, and in whose favour: all share one machine, so PostgreSQL takes from the same cores as its client, where it would have a machine of its own. Weir is
one process that gives work to itself and cannot give it to others; the peers take work from clients, and several processes can share it, which is much of what they write
and wait for. Weir's source yields inputs in batches. The peers run as they come but for durability, the size of pools and how often they poll, which are set in their
favour; whoever tunes them further may find more. A step that does something takes longer than what is measured here: these are costs of recording.`
