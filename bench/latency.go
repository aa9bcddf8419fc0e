package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/weirflow/weir"
)

// A Tick says when it came into being, in nanoseconds since the program began.
type Tick struct {
	ID   uint64 `json:"id"`
	At   int64  `json:"at"`
	Text string `json:"text"`
}

var programStart = time.Now()

func sinceStart() int64 { return int64(time.Since(programStart)) }

// A paced source yields one record after the other, rate in a second. If it comes
// late it yields at once what is due, as one batch.
type paced struct {
	n    int
	rate int
}

func (p *paced) Read(ctx context.Context, _ weir.Position) iter.Seq2[weir.Batch[Tick], error] {
	return func(yield func(weir.Batch[Tick], error) bool) {
		began := sinceStart()
		for at := 0; at < p.n && ctx.Err() == nil; {
			napUntil(began + int64(at)*int64(time.Second)/int64(p.rate))
			now := sinceStart()
			due := min(int((now-began)*int64(p.rate)/int64(time.Second))+1, p.n)
			batch := weir.Batch[Tick]{Position: positionOf(due)}
			for ; at < due; at++ {
				batch.Values = append(batch.Values, Tick{ID: uint64(at), At: now, Text: "a reading of a sensor"})
			}
			if len(batch.Values) > 0 && !yield(batch, nil) {
				return
			}
		}
	}
}

// napUntil sleeps in the system: Go's timers are a millisecond late on an idle
// machine.
func napUntil(at int64) {
	for {
		left := at - sinceStart()
		if left <= 0 {
			return
		}
		ts := syscall.NsecToTimespec(left)
		_ = syscall.Nanosleep(&ts, nil) // interrupted by signals, hence the loop
	}
}

const latencyStages = 3

// runPaced measures how long each record takes from source to sink.
func runPaced(ctx context.Context, dir string, rate, n int, sync string) (s Sample, err error) {
	took := make([]time.Duration, 0, n)
	sink := &counting[Tick]{on: func(batch []weir.Delivery[Tick]) {
		now := sinceStart()
		for i := range batch {
			took = append(took, time.Duration(now-batch[i].Value.At))
		}
	}}
	hop := func(t Tick) (Tick, error) { return t, nil }
	def := chainOf(latencyStages, weir.Source[Tick](&paced{n: n, rate: rate}), hop, weir.Sink[Tick](sink))
	runtime.GC()
	watch := startWatch()
	sum, err := def.Run(ctx, options(dir, syncOf(sync)))
	watch.stop(&s)
	if err := completed(sum, err, sink.n.Load(), int64(n)); err != nil {
		return s, err
	}
	s.Records = int64(n)
	s.latencies(took[n/20:]) // the first ones meet a cold program
	return s, nil
}

// pacedSyncs measures write and fdatasync of one frame's bytes at a rate, or as
// fast as it goes where that is slower.
func pacedSyncs(dir string, rate, n int) (s Sample, err error) {
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return s, err
	}
	defer f.Close()
	const frame = 300
	if err := fillZeros(f, int64(n+1)*frame); err != nil {
		return s, err
	}
	buf := randomRecords(frame, 1)[0]
	fd := int(f.Fd())
	took := make([]time.Duration, 0, n)
	runtime.GC()
	began := sinceStart()
	watch := startWatch()
	for i := range n {
		napUntil(began + int64(i)*int64(time.Second)/int64(rate))
		at := time.Now()
		if _, err := syscall.Pwrite(fd, buf, int64(i)*frame); err != nil {
			return s, os.NewSyscallError("pwrite", err)
		}
		if err := syscall.Fdatasync(fd); err != nil {
			return s, os.NewSyscallError("fdatasync", err)
		}
		took = append(took, time.Since(at))
	}
	watch.stop(&s)
	s.Records = int64(n)
	s.latencies(took[n/20:])
	return s, nil
}

// pacedHandOver passes stamped records through as many goroutines as a flow has
// stages, and does nothing else: what the scheduler and the machine's sleeping
// processors cost.
func pacedHandOver(ctx context.Context, rate, n int) (s Sample, err error) {
	took := make([]time.Duration, 0, n)
	runtime.GC()
	watch := startWatch()
	in := make(chan weir.Batch[Tick]) // closed by whoever sends
	go func() {
		defer close(in)
		for b := range (&paced{n: n, rate: rate}).Read(ctx, "") {
			in <- b
		}
	}()
	for range latencyStages - 1 {
		from, to := in, make(chan weir.Batch[Tick])
		go func() {
			defer close(to)
			for b := range from {
				to <- b
			}
		}()
		in = to
	}
	for b := range in {
		now := sinceStart()
		for _, t := range b.Values {
			took = append(took, time.Duration(now-t.At))
		}
	}
	watch.stop(&s)
	s.Records = int64(len(took))
	s.latencies(took[len(took)/20:])
	return s, context.Cause(ctx)
}

// The programs that latency is compared with.
const (
	latencyFloor    = "write + fdatasync"
	latencyHandOver = "goroutines"
)

func runLatency(ctx context.Context, e *env, r *Report) error {
	r.about(latencyAbout)
	for _, rate := range []int{100, 10_000} {
		name := fmt.Sprintf("rate=%d/s", rate)
		if !e.wants(name) {
			continue
		}
		n := e.smaller(5 * rate)
		n = max(n, 50)
		programs := []program{{latencyFloor, func(context.Context) (Sample, error) {
			return inScratch(e, func(dir string) (Sample, error) { return pacedSyncs(dir, rate, min(n, 5000)) })
		}}}
		programs = append(programs, program{latencyHandOver, func(ctx context.Context) (Sample, error) { return pacedHandOver(ctx, rate, n) }})
		for _, sync := range syncNames {
			programs = append(programs, program{"sync=" + sync, func(ctx context.Context) (Sample, error) {
				return inScratch(e, func(dir string) (Sample, error) { return runPaced(ctx, dir, rate, n, sync) })
			}})
		}
		got, err := interleave(ctx, e.rounds, e.chosen(programs))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.keep(name, got)
		if e.sole == "" {
			reportLatency(r, name, n, programs, got)
		}
	}
	return nil
}

// inScratch runs fn in a fresh directory and removes it.
func inScratch(e *env, fn func(dir string) (Sample, error)) (Sample, error) {
	dir, err := e.scratch()
	if err != nil {
		return Sample{}, err
	}
	defer os.RemoveAll(dir)
	return fn(dir)
}

func reportLatency(r *Report, name string, n int, programs []program, got map[string][]Sample) {
	t := r.table(fmt.Sprintf("B3 %s: source, two maps, sink; %d records in each of %d runs", name, n, len(got[latencyFloor])),
		name, "p50", "spread", "p99", "spread", "max", "p50 of a hop", "cores used")
	p50 := func(s Sample) float64 { return float64(s.P50) }
	p99 := func(s Sample) float64 { return float64(s.P99) }
	for _, p := range programs {
		ss := got[p.name]
		a, b := figure(ss, p50), figure(ss, p99)
		hop := ""
		if p.name != latencyFloor {
			hop = nanoseconds(a.Median / latencyStages)
		}
		t.add(p.name, nanoseconds(a.Median), spread(a), nanoseconds(b.Median), spread(b),
			nanoseconds(figure(ss, func(s Sample) float64 { return float64(s.Max) }).Max), hop,
			fmt.Sprintf("%.3f", figure(ss, func(s Sample) float64 { return float64(s.CPU) / float64(s.Elapsed) }).Median))
	}
	hop := figure(got["sync=none"], p50).Median / latencyStages
	bare := figure(got[latencyHandOver], p50).Median / latencyStages
	r.verdict(hop <= 10_000, "B3 "+name+" none: p50 ≤ 10 µs per hop", "%s (goroutines alone %s)", nanoseconds(hop), nanoseconds(bare))
	group, sync := figure(got["sync=group"], p99).Median, figure(got[latencyFloor], p99).Median
	r.verdict(group <= 3*sync, "B3 "+name+" group: p99 end to end ≤ 3 × the p99 of write and fdatasync", "%.2f × (%s, %s)", group/sync, nanoseconds(group), nanoseconds(sync))
}

const latencyAbout = `A source yields records at a fixed rate, each stamped when it is yielded; two maps; a sink subtracts the stamp on delivery. That is three hops
(edges). The source sleeps in the kernel until each record is due; when it wakes late it yields what is due as one batch. With sync=group a sink
is given only what is durable. The first twentieth of the records is left out. Two floors: "write + fdatasync" writes 300 bytes into a
zero-filled file and calls fdatasync at the same rate, or as fast as it can where a sync takes longer than the pause; "goroutines" hands the
same records at the same rate through as many goroutines by channels, so it tells what waking them costs on this machine.`
