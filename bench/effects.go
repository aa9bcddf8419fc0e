package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir"
)

// A lap is the time and CPU that a stretch of effects took.
type lap struct {
	from, to int64 // effects that were made when it began and when it ended
	at       [2]time.Time
	cpu      [2]time.Duration
}

// effectFlow performs an action that does nothing, so many at once. laps are
// clocked by the action itself.
func effectFlow(n, inFlight int, class string, sink weir.Sink[Small], laps ...*lap) *weir.Definition {
	var made atomic.Int64
	e := nothing(class, func() {
		k := made.Add(1)
		for _, l := range laps {
			switch k {
			case l.from:
				l.at[0], l.cpu[0] = time.Now(), cpuTime()
			case l.to:
				l.at[1], l.cpu[1] = time.Now(), cpuTime()
			}
		}
	})
	return weir.Define("effects", func(f *weir.Flow) {
		in := weir.From(f, "source", weir.Source[Small](&cyclic[Small]{values: valuesOf(makeSmall), n: n}))
		done, _ := weir.Perform(in, "nothing", e, weir.Concurrency(inFlight))
		weir.Into(done, "sink", sink)
	})
}

// performOnce performs n effects.
func performOnce(ctx context.Context, dir string, n, inFlight int, class, sync string, laps ...*lap) (s Sample, err error) {
	sink := &counting[Small]{}
	def := effectFlow(n, inFlight, class, weir.Sink[Small](sink), laps...)
	runtime.GC()
	watch := startWatch()
	sum, err := def.Run(ctx, options(dir, syncOf(sync)))
	watch.stop(&s)
	s.Records = int64(n)
	return s, completed(sum, err, sink.n.Load(), int64(n))
}

// Where the cost of an effect is measured: with this much history, over so many
// effects.
const (
	shortHistory = 1000
	longHistory  = 1_000_000
	lapLength    = 20_000
)

func runEffects(ctx context.Context, e *env, r *Report) error {
	r.about(effectsAbout)
	for _, class := range []string{"idempotent", "keyed by input"} {
		for _, sync := range syncNames {
			name := class + " sync=" + sync
			if e.wants(name) {
				if err := runInFlight(ctx, e, r, name, class, sync); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	if e.wants("history") {
		return runHistory(ctx, e, r)
	}
	return nil
}

// runInFlight compares one call at a time with 64.
func runInFlight(ctx context.Context, e *env, r *Report, name, class, sync string) error {
	var programs []program
	for _, k := range []int{1, 64} {
		n := map[string]int{"none1": 50_000, "none64": 200_000, "group1": 4000, "group64": 100_000}[sync+strconv.Itoa(k)]
		programs = append(programs, program{fmt.Sprintf("in flight=%d", k), func(ctx context.Context) (Sample, error) {
			return inScratch(e, func(dir string) (Sample, error) {
				return performOnce(ctx, filepath.Join(dir, "data"), e.smaller(n), k, class, sync)
			})
		}})
	}
	if sync == "group" {
		programs = append(programs, program{latencyFloor, func(context.Context) (Sample, error) {
			return inScratch(e, func(dir string) (Sample, error) { return pacedSyncs(dir, 1_000_000, e.smaller(5000)) })
		}})
	}
	got, err := interleave(ctx, e.rounds, e.chosen(programs))
	if err != nil {
		return err
	}
	r.keep(name, got)
	if e.sole != "" {
		return nil
	}
	t := r.table(fmt.Sprintf("B4 %s: source, effect, sink; %d runs each", name, e.rounds), name, "effects/s", "spread", "CPU/effect")
	rates := map[string]float64{}
	for _, p := range programs {
		ss := got[p.name]
		rate := figure(ss, Sample.rate)
		rates[p.name] = rate.Median
		t.add(p.name, count(rate.Median), spread(rate), nanoseconds(figure(ss, Sample.cpuPerRecord).Median))
	}
	if sync == "group" {
		many, one := rates["in flight=64"], rates["in flight=1"]
		r.verdict(many >= 30*one, "B4 "+class+": 64 in flight ≥ 30 × one in flight", "%.1f × (%s, %s effects/s)", many/one, count(many), count(one))
	}
	return nil
}

// runHistory compares what an effect costs after a short and a long history, in
// one run.
func runHistory(ctx context.Context, e *env, r *Report) error {
	long, length := int64(e.smaller(longHistory)), int64(e.smaller(lapLength))
	t := r.table(fmt.Sprintf("B4 history: one run with 64 in flight, sync=group, idempotent; %d effects from each point on", length),
		"history", "time/effect", "CPU/effect")
	var ratios []float64
	var samples []Sample
	for range max(1, e.rounds/2) {
		first, last := &lap{from: shortHistory, to: shortHistory + length}, &lap{from: long, to: long + length}
		s, err := inScratch(e, func(dir string) (Sample, error) {
			return performOnce(ctx, filepath.Join(dir, "data"), int(long+length), 64, "idempotent", "group", first, last)
		})
		if err != nil {
			return err
		}
		each := func(l *lap) (took, cpu float64) {
			return float64(l.at[1].Sub(l.at[0])) / float64(length), float64(l.cpu[1]-l.cpu[0]) / float64(length)
		}
		a, cpuA := each(first)
		b, cpuB := each(last)
		t.add(count(shortHistory), nanoseconds(a), nanoseconds(cpuA))
		t.add(count(float64(long)), nanoseconds(b), nanoseconds(cpuB))
		ratios = append(ratios, cpuB/cpuA)
		s.Extra = map[string]float64{"short_ns": a, "long_ns": b, "short_cpu_ns": cpuA, "long_cpu_ns": cpuB}
		samples = append(samples, s)
	}
	r.keep("history", map[string][]Sample{appendWeir: samples})
	ratio := figure(samples, func(s Sample) float64 { return s.Extra["long_cpu_ns"] / s.Extra["short_cpu_ns"] }).Median
	r.verdict(ratio <= 1.1, "B4: CPU per effect after "+count(float64(long))+" ≤ 1.1 × after "+count(shortHistory), "%.2f × (runs: %.2f)", ratio, ratios)
	return nil
}

const effectsAbout = `A source of 55-byte payloads, a stage that performs an effect, a counting sink, receipts and contracts on. The action does nothing and answers
with its input. "idempotent" records nothing before a call, "keyed by input" an intent, which is durable before the call leaves. The next call in a
slot leaves when the outcome before it is durable, whatever the class. "write + fdatasync" is 300 bytes at a time, as fast as the disk does it one
after the other: one effect in flight waits for that once, or twice with an intent; 64 in flight share it and wait for the processors. So the
faster the disk, the less are 64 ahead of one. History: CPU of the whole process between two effects of one run.`
