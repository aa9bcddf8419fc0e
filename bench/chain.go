package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/journal"
)

// A workload is a chain of one payload type.
type workload struct {
	name  string
	floor func(n int) (Sample, error)
	chain func(ctx context.Context, dir string, stages, n int, sync journal.SyncMode) (s Sample, run string, err error)
}

func workloadOf[T any](name string, values []T, hop func(T) (T, error)) workload {
	return workload{
		name:  name,
		floor: func(n int) (Sample, error) { return codecFloor(values, hop, n) },
		chain: func(ctx context.Context, dir string, stages, n int, sync journal.SyncMode) (Sample, string, error) {
			return runChain(ctx, dir, stages, n, sync, values, hop)
		},
	}
}

func workloads() []workload {
	return []workload{
		workloadOf("small", valuesOf(makeSmall), hopSmall),
		workloadOf("ten fields", valuesOf(makeTen), hopTen),
		workloadOf("time and slice", valuesOf(makeRich), hopRich),
	}
}

// runChain runs n records through stages journals and a sink. The sample counts
// stage-records; run is the directory of the run.
func runChain[T any](ctx context.Context, dir string, stages, n int, sync journal.SyncMode, values []T, hop func(T) (T, error)) (s Sample, run string, err error) {
	sink := &counting[T]{}
	def := chainOf(stages, weir.Source[T](&cyclic[T]{values: values, n: n}), hop, weir.Sink[T](sink))
	runtime.GC()
	watch := startWatch()
	sum, err := def.Run(ctx, options(dir, sync))
	watch.stop(&s)
	s.Records = int64(n) * int64(stages)
	return s, sum.Dir, completed(sum, err, sink.n.Load(), int64(n))
}

// reference is what an emulation of the reference design's I/O reached on a
// machine of this size, in records per second, by number of stages; it was
// measured once, before any of Weir existed, and is not measured again here.
var reference = map[int]float64{1: 4600, 3: 2100, 10: 720}

var chainLengths = []int{1, 3, 10}

const chainFloor = "floor"

func chainName(stages int, sync string) string { return fmt.Sprintf("N=%d sync=%s", stages, sync) }

var syncNames = []string{"none", "group"}

func syncOf(name string) journal.SyncMode {
	if name == "none" {
		return journal.None
	}
	return journal.Group
}

func runChains(ctx context.Context, e *env, r *Report) error {
	r.about(chainAbout)
	for _, w := range workloads() {
		if !e.wants(w.name) {
			continue
		}
		programs := []program{{chainFloor, func(context.Context) (Sample, error) { return w.floor(e.smaller(1_000_000)) }}}
		for _, stages := range chainLengths {
			for _, sync := range syncNames {
				programs = append(programs, program{chainName(stages, sync), func(ctx context.Context) (Sample, error) {
					return inScratch(e, func(dir string) (Sample, error) {
						s, _, err := w.chain(ctx, filepath.Join(dir, "data"), stages, e.smaller(chainRecords(stages)), syncOf(sync))
						return s, err
					})
				}})
			}
		}
		got, err := interleave(ctx, e.rounds, e.chosen(programs))
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.keep(w.name, got)
		if e.sole == "" {
			reportChains(r, w, got)
		}
	}
	return nil
}

// chainRecords is enough for about a second.
func chainRecords(stages int) int { return 3_000_000 / (stages + 1) }

func reportChains(r *Report, w workload, got map[string][]Sample) {
	floor := figure(got[chainFloor], Sample.cpuPerRecord).Median
	size := figure(got[chainFloor], func(s Sample) float64 { return float64(s.Bytes) / float64(s.Records) }).Median
	t := r.table(fmt.Sprintf("B2 %s: %.0f B encoded; the floor takes %s of CPU for one", w.name, size, nanoseconds(floor)),
		w.name, "records/s", "spread", "stage-records/s", "CPU/stage-record", "of floor", "cores used", "records per CPU second")
	cpu, events := map[string]float64{}, map[string]float64{}
	for _, stages := range chainLengths {
		for _, sync := range syncNames {
			name := chainName(stages, sync)
			ss := got[name]
			rate := figure(ss, Sample.rate)
			events[name] = rate.Median / float64(stages)
			cpu[name] = figure(ss, Sample.cpuPerRecord).Median
			cores := figure(ss, func(s Sample) float64 { return float64(s.CPU) / float64(s.Elapsed) }).Median
			t.add(name, count(events[name]), spread(rate), count(rate.Median), nanoseconds(cpu[name]), ratio(cpu[name]/floor), fmt.Sprintf("%.2f", cores), count(1e9/cpu[name]/float64(stages)))
		}
	}
	judgeChains(r, w.name, floor, cpu, events)
}

// judgeChains compares with the targets; a target is met if every length and mode
// meets it.
func judgeChains(r *Report, name string, floor float64, cpu, events map[string]float64) {
	all := func(target string, syncs []string, met func(v float64) bool, of func(stages int, sync string) float64) {
		ok, found := true, ""
		for _, stages := range chainLengths {
			for _, sync := range syncs {
				v := of(stages, sync)
				ok = ok && met(v)
				found += fmt.Sprintf(", %s %s", chainName(stages, sync), ratio(v))
			}
		}
		r.verdict(ok, "B2 "+name+": "+target, "%s", found[2:])
	}
	all("CPU per stage-record ≤ 2.5 × the floor", syncNames, func(v float64) bool { return v <= 2.5 },
		func(stages int, sync string) float64 { return cpu[chainName(stages, sync)] / floor })
	all("≥ 150 × the reference", syncNames, func(v float64) bool { return v >= 150 },
		func(stages int, sync string) float64 { return events[chainName(stages, sync)] / reference[stages] })
	all("group ≥ 0.8 × none", []string{"group"}, func(v float64) bool { return v >= 0.8 },
		func(stages int, sync string) float64 {
			return events[chainName(stages, sync)] / events[chainName(stages, "none")]
		})
	for _, sync := range syncNames {
		longer := cpu[chainName(10, sync)] / cpu[chainName(3, sync)]
		r.verdict(longer <= 1.2, "B2 "+name+" sync="+sync+": a stage-record at N=10 ≤ 1.2 × at N=3", "%.2f ×", longer)
	}
}

const chainAbout = `A source, N−1 maps and a counting sink in one process, on disk, everything on: receipts, contracts, digests, hash chain. A stage-record is one
record in one journal, so N records in all journals for one that goes through; the sink's work is counted in. CPU is user and system time of
the whole process (getrusage) over the whole run, start and end included; "cores used" is CPU by time, so where it is low the run waited, for the
disk or for others who use the machine. The payload codec is the default, JSON.

The floor is what nobody can leave out who records a payload: encode it (the same codec), copy it into a buffer, CRC-32C of it, SHA-256 over
everything; one goroutine, no I/O, no hand-over. "the reference" is an emulation of the I/O of the design that Weir's model comes from: 4,600, 2,100
and 720 records/s through 1, 3 and 10 stages, measured once on another machine with two cores and not again in this run.`
