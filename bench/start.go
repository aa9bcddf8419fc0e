package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/weirflow/weir"
)

// startStages is how many stages the flow has: a source, maps and a sink.
const startStages = 100

// runStartOnce measures from the definition of a flow to its first record at the
// sink.
func runStartOnce(ctx context.Context, dir, sync string) (s Sample, err error) {
	first := make(chan time.Time, 1) // the one record
	sink := &counting[Small]{on: func([]weir.Delivery[Small]) { first <- time.Now() }}
	runtime.GC()
	watch := startWatch()
	def := chainOf(startStages-1, weir.Source[Small](&cyclic[Small]{values: []Small{makeSmall(0)}, n: 1, hold: true}), hopSmall, weir.Sink[Small](sink))
	run, err := def.Start(ctx, options(dir, syncOf(sync)))
	if err != nil {
		return s, err
	}
	defer run.Cancel()
	select {
	case at := <-first:
		watch.stop(&s)
		s.Records, s.Elapsed = 1, at.Sub(watch.began)
		return s, nil
	case <-run.Done():
		_, err := run.Wait()
		return s, fmt.Errorf("the run ended before its first record: %w", err)
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

func runStart(ctx context.Context, e *env, r *Report) error {
	r.about(startAbout)
	var programs []program
	for _, sync := range syncNames {
		programs = append(programs, program{"sync=" + sync, func(ctx context.Context) (Sample, error) {
			return inScratch(e, func(dir string) (Sample, error) { return runStartOnce(ctx, filepath.Join(dir, "data"), sync) })
		}})
	}
	got, err := interleave(ctx, 4*e.rounds, e.chosen(programs))
	if err != nil {
		return err
	}
	r.keep("start", got)
	t := r.table(fmt.Sprintf("B12: %d stages, %d starts each", startStages, len(got["sync=none"])), "sync", "build to first record", "spread", "CPU")
	for _, p := range programs {
		took := figure(got[p.name], func(s Sample) float64 { return float64(s.Elapsed) })
		t.add(p.name, nanoseconds(took.Median), spread(took), nanoseconds(figure(got[p.name], func(s Sample) float64 { return float64(s.CPU) }).Median))
		r.verdict(took.Median <= 25e6, "B12 "+p.name+": N=100 from build to first record ≤ 25 ms", "%s", nanoseconds(took.Median))
	}
	return nil
}

const startAbout = `From the definition of a flow with a source, 98 maps and a sink, through creating its run on disk (a new data directory, manifest, first segment),
to the first record's delivery to the sink.`
