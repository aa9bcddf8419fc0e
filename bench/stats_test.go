package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestFigure(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   Figure
	}{
		{"none", nil, Figure{}},
		{"one", []float64{3}, Figure{3, 3, 3}},
		{"odd", []float64{9, 1, 5}, Figure{5, 1, 9}},
		{"even", []float64{4, 1, 2, 9}, Figure{3, 1, 9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var samples []Sample
			for _, v := range test.values {
				samples = append(samples, Sample{Extra: map[string]float64{"v": v}})
			}
			if got := figure(samples, func(s Sample) float64 { return s.Extra["v"] }); got != test.want {
				t.Errorf("figure(%v) = %v, want %v", test.values, got, test.want)
			}
		})
	}
}

func TestLatencies(t *testing.T) {
	var ds []time.Duration
	for i := range 1000 {
		ds = append(ds, time.Duration(1000-i))
	}
	var s Sample
	s.latencies(ds)
	if s.P50 != 500 || s.P99 != 990 || s.Max != 1000 {
		t.Errorf("of 1…1000: p50 %d, p99 %d, max %d, want 500, 990, 1000", s.P50, s.P99, s.Max)
	}
	s.latencies(nil)
	if s.P50 != 0 || s.Max != 0 {
		t.Errorf("of nothing: %+v, want zeros", s)
	}
}

func TestInterleave(t *testing.T) {
	var order []string
	named := func(name string) program {
		return program{name, func(context.Context) (Sample, error) {
			order = append(order, name)
			return Sample{Records: 1}, nil
		}}
	}
	got, err := interleave(t.Context(), 3, []program{named("a"), named("b")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "a b b a a b"; strings.Join(order, " ") != want {
		t.Errorf("order %v, want %s", order, want)
	}
	if len(got["a"]) != 3 || len(got["b"]) != 3 {
		t.Errorf("samples %v, want three of each", got)
	}
}

func TestSlope(t *testing.T) {
	if got := slope([]point{{0, 10}, {1, 12}, {2, 14}}); got != 2 {
		t.Errorf("slope = %v, want 2", got)
	}
	if got := slope(nil); got != 0 {
		t.Errorf("slope of nothing = %v, want 0", got)
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 950: "950", 9999: "9999", 12_345: "12.3 k", 1_234_567: "1.23 M", 2e9: "2.00 G"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %q, want %q", v, got, want)
		}
	}
}

// TestFloorsWriteWhatTheySay holds the floors to their counts.
func TestFloorsWriteWhatTheySay(t *testing.T) {
	c := cell{size: 256, batch: 64, sync: syncEach}
	size, err := batchBytes(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []floorOptions{{file: growing}, {file: growing, sums: true}} {
		log, err := openFloor(o)(t.TempDir(), c)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := log.Append(nil, true); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := log.Counts(), (counts{bytes: int64(3 * size), writes: 3, syncs: 3}); got != want {
			t.Errorf("%+v: %+v, want %+v", o, got, want)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
