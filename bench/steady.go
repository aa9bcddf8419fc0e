package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir"
)

// residentBytes is the process's resident memory.
func residentBytes() (float64, error) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/self/statm: %q", data)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return float64(pages) * float64(os.Getpagesize()), err
}

// A point is the process's memory when so many records had come through.
type point struct{ records, bytes float64 }

// slope fits a line through the points and returns bytes per record.
func slope(ps []point) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range ps {
		n++
		sx += p.records
		sy += p.bytes
		sxx += p.records * p.records
		sxy += p.records * p.bytes
	}
	if d := n*sxx - sx*sx; d != 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}

func runSteady(ctx context.Context, e *env, r *Report) error {
	r.about(steadyAbout)
	n := e.smaller(steadyRecords)
	t := r.table(fmt.Sprintf("B8: %s records of ten fields through a source, two maps and a sink", count(float64(n))),
		"sync", "records/s", "CPU/stage-record", "RSS greatest", "RSS slope per 1 M records", "allocations/stage-record", "B allocated/stage-record")
	for _, sync := range syncNames {
		if !e.wants(sync) {
			continue
		}
		s, err := inScratch(e, func(dir string) (Sample, error) { return steadyOnce(ctx, filepath.Join(dir, "data"), n, sync) })
		if err != nil {
			return err
		}
		r.keep(sync, map[string][]Sample{appendWeir: {s}})
		t.add("sync="+sync, count(s.rate()/3), nanoseconds(s.cpuPerRecord()), fmt.Sprintf("%.0f MB", s.Extra["rss_max"]/1e6),
			fmt.Sprintf("%+.2f MB", s.Extra["rss_slope"]*1e6/1e6), fmt.Sprintf("%.4f", s.Extra["allocs"]), fmt.Sprintf("%.1f", s.Extra["alloc_bytes"]))
		r.verdict(s.Extra["rss_max"] < 150e6, "B8 sync="+sync+": RSS < 150 MB", "%.0f MB", s.Extra["rss_max"]/1e6)
		r.verdict(s.Extra["allocs"] < 0.05, "B8 sync="+sync+": 0 allocations per record, amortised (below 0.05)", "%.4f per stage-record", s.Extra["allocs"])
		perMillion := s.Extra["rss_slope"] * 1e6
		r.verdict(perMillion*float64(n)/1e6 < 0.1*s.Extra["rss_max"], "B8 sync="+sync+": RSS slope zero after warm-up (less than a tenth over the run)",
			"%+.2f MB per 1 M records", perMillion/1e6)
	}
	return nil
}

// steadyOnce runs n records and watches memory and allocations behind the first
// fifth.
func steadyOnce(ctx context.Context, dir string, n int, sync string) (s Sample, err error) {
	sink := &counting[Ten]{}
	def := chainOf(3, weir.Source[Ten](&cyclic[Ten]{values: valuesOf(makeTen), n: n}), hopTen, weir.Sink[Ten](sink))
	runtime.GC()
	watch := startWatch()
	run, err := def.Start(ctx, options(dir, syncOf(sync)))
	if err != nil {
		return s, err
	}
	var (
		points      []point
		warm        runtime.MemStats
		warmRecords int64
		greatest    float64
	)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-run.Done():
			running = false
		case <-tick.C:
			bytes, err := residentBytes()
			if err != nil {
				return s, err
			}
			at := sink.n.Load()
			greatest = max(greatest, bytes)
			if at < int64(n/5) {
				continue
			}
			if warmRecords == 0 {
				runtime.ReadMemStats(&warm)
				warmRecords = at
			}
			points = append(points, point{float64(at), bytes})
		}
	}
	sum, err := run.Wait()
	watch.stop(&s)
	if err := completed(sum, err, sink.n.Load(), int64(n)); err != nil {
		return s, err
	}
	var end runtime.MemStats
	runtime.ReadMemStats(&end)
	stageRecords := float64(3 * (int64(n) - warmRecords))
	s.Records = 3 * int64(n)
	s.Extra = map[string]float64{
		"rss_max": greatest, "rss_slope": slope(points),
		"allocs":      float64(end.Mallocs-warm.Mallocs) / stageRecords,
		"alloc_bytes": float64(end.TotalAlloc-warm.TotalAlloc) / stageRecords,
	}
	return s, nil
}

const steadyAbout = `One run each. Resident memory is read every 20 ms; the slope is a least-squares line through what came behind the first fifth of the records.
Allocations are those of the whole process behind the first fifth, divided by stage-records; the benchmark's own (a batch's position, the
sink) are in it, its handlers allocate nothing.`
