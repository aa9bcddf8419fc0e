package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/weirflow/weir"
)

// A verifiable is a flow that is run and then verified.
type verifiable struct {
	name    string
	sync    string
	n       int
	atLeast float64 // × the rate of the run
	flow    func(n int, sink weir.Sink[Small]) *weir.Definition
}

func verifiables() []verifiable {
	chain := func(n int, sink weir.Sink[Small]) *weir.Definition {
		return chainOf(3, weir.Source[Small](&cyclic[Small]{values: valuesOf(makeSmall), n: n}), hopSmall, sink)
	}
	effects := func(class string, inFlight int) func(int, weir.Sink[Small]) *weir.Definition {
		return func(n int, sink weir.Sink[Small]) *weir.Definition { return effectFlow(n, inFlight, class, sink) }
	}
	steps := func(n int, sink weir.Sink[Small]) *weir.Definition { return stepsFlow(n, 64, "keyed by input", sink) }
	return []verifiable{
		{"pure chain, sync=none", "none", 750_000, 1, chain},
		{"chain to a sink, sync=group", "group", 750_000, 2, chain},
		{"idempotent effect, one in flight", "group", 3000, 2, effects("idempotent", 1)},
		{"idempotent effect, 64 in flight", "group", 100_000, 2, effects("idempotent", 64)},
		{"effect keyed by input, one in flight", "group", 3000, 2, effects("keyed by input", 1)},
		{"effect keyed by input, 64 in flight", "group", 100_000, 2, effects("keyed by input", 64)},
		{"three steps, 64 in flight", "group", 40_000, 2, steps},
	}
}

// runAndVerify runs a flow and verifies what it recorded. The sample is the run's.
func runAndVerify(ctx context.Context, dir string, f verifiable, n int) (s Sample, err error) {
	sink := &counting[Small]{}
	runtime.GC()
	watch := startWatch()
	sum, err := f.flow(n, weir.Sink[Small](sink)).Run(ctx, options(dir, syncOf(f.sync)))
	watch.stop(&s)
	s.Records = int64(n)
	if err := completed(sum, err, sink.n.Load(), int64(n)); err != nil {
		return s, err
	}
	def := f.flow(n, weir.Sink[Small](&counting[Small]{}))
	var again Sample
	runtime.GC()
	watch = startWatch()
	v, err := def.Verify(ctx, sum.Dir, weir.VerifyOptions{Logger: slog.New(slog.DiscardHandler)})
	watch.stop(&again)
	if err != nil {
		return s, err
	}
	if v.Outcome != weir.Identical {
		return s, fmt.Errorf("the run was verified as %s: %d differences", v.Outcome, v.Found)
	}
	s.Extra = map[string]float64{"verify_ns": float64(again.Elapsed), "verify_cpu_ns": float64(again.CPU)}
	return s, nil
}

func runVerify(ctx context.Context, e *env, r *Report) error {
	r.about(verifyAbout)
	t := r.table(fmt.Sprintf("B7: a run, and its verification; %d of each", e.rounds),
		"flow", "run, records/s", "verify, records/s", "verify is", "spread", "run, CPU/record", "verify, CPU/record")
	for _, f := range verifiables() {
		if !e.wants(f.name) {
			continue
		}
		got, err := interleave(ctx, e.rounds, []program{{appendWeir, func(ctx context.Context) (Sample, error) {
			return inScratch(e, func(dir string) (Sample, error) {
				return runAndVerify(ctx, filepath.Join(dir, "data"), f, e.smaller(f.n))
			})
		}}})
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		r.keep(f.name, got)
		ss := got[appendWeir]
		again := figure(ss, func(s Sample) float64 {
			return Sample{Records: s.Records, Elapsed: time.Duration(s.Extra["verify_ns"])}.rate()
		})
		faster := figure(ss, func(s Sample) float64 { return float64(s.Elapsed) / s.Extra["verify_ns"] })
		run := figure(ss, Sample.rate)
		t.add(f.name, count(run.Median), count(again.Median), ratio(faster.Median), spread(faster),
			nanoseconds(figure(ss, Sample.cpuPerRecord).Median),
			nanoseconds(figure(ss, func(s Sample) float64 { return s.Extra["verify_cpu_ns"] / float64(s.Records) }).Median))
		r.verdict(faster.Median >= f.atLeast, fmt.Sprintf("B7 %s: verified at ≥ %.0f × the rate of the run", f.name, f.atLeast), "%.2f × (%s, %s records/s)",
			faster.Median, count(again.Median), count(run.Median))
	}
	return nil
}

const verifyAbout = `Each run is verified as soon as it has ended, in the same process: everything is executed again from what is recorded and compared, and must come out
identical. Payloads of 55 bytes. The chain is a source, two maps and a counting sink; the others as in B4 and B5. The ratio is that of a run
and its own verification.`
