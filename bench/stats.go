package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// A Sample is what one run of one program did.
type Sample struct {
	Records int64         `json:"records"`
	Elapsed time.Duration `json:"elapsed_ns"`
	CPU     time.Duration `json:"cpu_ns"`           // of the whole process
	Bytes   int64         `json:"bytes,omitempty"`  // handed to write(2)
	Writes  int64         `json:"writes,omitempty"` // calls of write(2)
	Syncs   int64         `json:"syncs,omitempty"`  // calls of fsync or fdatasync

	P50 time.Duration `json:"p50_ns,omitempty"` // of one operation
	P99 time.Duration `json:"p99_ns,omitempty"`
	Max time.Duration `json:"max_ns,omitempty"`

	Extra map[string]float64 `json:"extra,omitempty"`
}

// rate is records per second.
func (s Sample) rate() float64 { return float64(s.Records) / s.Elapsed.Seconds() }

// cpuPerRecord is nanoseconds of CPU per record.
func (s Sample) cpuPerRecord() float64 { return float64(s.CPU) / float64(s.Records) }

// A program is one of several that are compared.
type program struct {
	name string
	run  func(ctx context.Context) (Sample, error)
}

// interleave runs the programs in turn, rounds times, each round beginning with
// another one. The machine's moods so meet all of them.
func interleave(ctx context.Context, rounds int, programs []program) (map[string][]Sample, error) {
	got := map[string][]Sample{}
	for round := range rounds {
		for i := range programs {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			p := programs[(i+round)%len(programs)]
			s, err := p.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			got[p.name] = append(got[p.name], s)
		}
	}
	return got, nil
}

// A Figure is a measured quantity: the median of some runs, with least and
// greatest.
type Figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func figure(samples []Sample, of func(Sample) float64) Figure {
	if len(samples) == 0 {
		return Figure{}
	}
	vs := make([]float64, len(samples))
	for i, s := range samples {
		vs[i] = of(s)
	}
	slices.Sort(vs)
	return Figure{Median: median(vs), Min: vs[0], Max: vs[len(vs)-1]}
}

// median of sorted values.
func median(vs []float64) float64 {
	n := len(vs)
	if n%2 == 1 {
		return vs[n/2]
	}
	return (vs[n/2-1] + vs[n/2]) / 2
}

// quantile of sorted values: the least that is not smaller than q of them.
func quantile[T cmp.Ordered](sorted []T, q float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// latencies sets the quantiles of s from the times of single operations, which
// it sorts.
func (s *Sample) latencies(ds []time.Duration) {
	slices.Sort(ds)
	s.P50, s.P99, s.Max = quantile(ds, 0.5), quantile(ds, 0.99), quantile(ds, 1)
}

// A stopwatch measures time and CPU.
type stopwatch struct {
	began time.Time
	cpu   time.Duration
}

func startWatch() stopwatch { return stopwatch{cpu: cpuTime(), began: time.Now()} }

func (w stopwatch) stop(s *Sample) {
	s.Elapsed = time.Since(w.began)
	s.CPU = cpuTime() - w.cpu
}
