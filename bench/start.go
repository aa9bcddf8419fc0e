package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
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
	files := vfs.NewMeter(vfs.OS)
	o := options(dir, syncOf(sync))
	o.Harness = &plan.Harness{FS: files}
	run, err := def.Start(ctx, o)
	if err != nil {
		return s, err
	}
	defer run.Cancel()
	select {
	case at := <-first:
		watch.stop(&s)
		s.Records, s.Elapsed = 1, at.Sub(watch.began)
		c := files.Counts()
		s.Bytes, s.Writes, s.Syncs = c.BytesWritten, c.Writes, c.Syncs+c.DirSyncs
		return s, nil
	case <-run.Done():
		_, err := run.Wait()
		return s, fmt.Errorf("the run ended before its first record: %w", err)
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

// startSyncs makes that many small files and syncs each and the directory, in all
// n syncs.
func startSyncs(dir string, n int) (s Sample, err error) {
	watch := startWatch()
	for i := range n / 2 {
		name := filepath.Join(dir, fmt.Sprintf("file%d", i))
		f, err := vfs.OS.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return s, err
		}
		_, err = f.Write([]byte("{}"))
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close(), vfs.OS.SyncDir(dir)); err != nil {
			return s, err
		}
	}
	watch.stop(&s)
	s.Records, s.Syncs = 1, int64(n/2*2)
	return s, nil
}

const startFloor = "22 syncs, nothing else"

func runStart(ctx context.Context, e *env, r *Report) error {
	r.about(startAbout)
	programs := []program{{startFloor, func(context.Context) (Sample, error) {
		return inScratch(e, func(dir string) (Sample, error) { return startSyncs(dir, 22) })
	}}}
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
	t := r.table(fmt.Sprintf("B12: %d stages, %d starts each", startStages, len(got["sync=none"])), "", "build to first record", "spread", "CPU", "syncs")
	for _, p := range programs {
		took := figure(got[p.name], func(s Sample) float64 { return float64(s.Elapsed) })
		t.add(p.name, nanoseconds(took.Median), spread(took), nanoseconds(figure(got[p.name], func(s Sample) float64 { return float64(s.CPU) }).Median),
			count(figure(got[p.name], func(s Sample) float64 { return float64(s.Syncs) }).Median))
		if p.name == startFloor {
			continue
		}
		r.verdict(took.Median <= 25e6, "B12 "+p.name+": N=100 from build to first record ≤ 25 ms", "%s", nanoseconds(took.Median))
	}
	return nil
}

const startAbout = `From the definition of a flow with a source, 98 maps and a sink, through creating its run on disk (a new data directory, manifest, first segment),
to the first record's delivery to the sink. Syncs are all of files and directories until then. For
comparison: files made one after the other, each synced with its directory, about as many syncs.`
