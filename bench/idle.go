package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir"
)

// Sizes that a person may want larger or smaller.
var (
	idleFor       = 60 * time.Second
	steadyRecords = 2_000_000
	recoverMost   = 10_000_000
)

func registerSizes(flags *flag.FlagSet) {
	flags.DurationVar(&idleFor, "idle", idleFor, "b9: how long to watch an idle run")
	flags.IntVar(&steadyRecords, "steady", steadyRecords, "b8: records through the chain (the target is stated for 20000000)")
	flags.IntVar(&recoverMost, "recover", recoverMost, "b6: the longest history, in records")
}

// written is what the process has handed to write(2) and the like so far.
func written() (bytes int64, err error) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "wchar: "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/io has no wchar")
}

func runIdle(ctx context.Context, e *env, r *Report) error {
	r.about(idleAbout)
	watchFor := idleFor
	if e.short {
		watchFor = time.Second
	}
	s, err := inScratch(e, func(dir string) (Sample, error) { return idleOnce(ctx, filepath.Join(dir, "data"), watchFor) })
	if err != nil {
		return err
	}
	r.keep("idle", map[string][]Sample{appendWeir: {s}})
	core := float64(s.CPU) / float64(s.Elapsed)
	t := r.table(fmt.Sprintf("B9: %d stages, nothing to do, sync=group", startStages), "watched", "CPU", "of a core", "bytes written", "goroutines")
	t.add(duration(s.Elapsed), duration(s.CPU), fmt.Sprintf("%.3f %%", 100*core), strconv.FormatInt(s.Bytes, 10), fmt.Sprintf("%.0f", s.Extra["goroutines"]))
	r.verdict(core <= 0.005, "B9: 100 idle stages use ≤ 0.5 % of a core", "%.3f %%", 100*core)
	r.verdict(s.Bytes == 0, "B9: 100 idle stages write 0 bytes", "%d", s.Bytes)
	return nil
}

// idleOnce has one record go through, lets the run come to rest and then watches.
func idleOnce(ctx context.Context, dir string, watchFor time.Duration) (s Sample, err error) {
	first := make(chan struct{}) // closed by the sink at the one record
	sink := &counting[Small]{on: func([]weir.Delivery[Small]) { close(first) }}
	def := chainOf(startStages-1, weir.Source[Small](&cyclic[Small]{values: []Small{makeSmall(0)}, n: 1, hold: true}), hopSmall, weir.Sink[Small](sink))
	run, err := def.Start(ctx, options(dir, syncOf("group")))
	if err != nil {
		return s, err
	}
	defer run.Cancel()
	select {
	case <-first:
	case <-run.Done():
		_, err := run.Wait()
		return s, fmt.Errorf("the run ended before its first record: %w", err)
	}
	time.Sleep(time.Second) // the receipt, its sync, the next segment in preparation
	runtime.GC()
	before, err := written()
	if err != nil {
		return s, err
	}
	watch := startWatch()
	select {
	case <-time.After(watchFor):
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
	watch.stop(&s)
	after, err := written()
	s.Bytes, s.Records = after-before, 1
	s.Extra = map[string]float64{"goroutines": float64(runtime.NumGoroutine())}
	return s, err
}

const idleAbout = `A source, 98 maps and a sink; one record goes through, the source then waits. After a second of rest the process is watched: CPU by getrusage, bytes
by the wchar counter of /proc/self/io, both of the whole process with Go's runtime in it.`
