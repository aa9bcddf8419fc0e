package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// said makes a stepper of a script, which says that it performed 100 inputs.
func said(t *testing.T, name string, synced bool, took time.Duration) *stepper {
	return scripted(t, name, synced, fmt.Sprintf(`echo '{"inputs":100,"elapsed_ns":%d,"cpu_ns":%d,"sync":"by a promise"}'`, took, took))
}

func scripted(t *testing.T, name string, synced bool, script string) *stepper {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stepper")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &stepper{name: name, synced: synced, build: "scripted", binary: file, inputs: map[int]int{1: 10, 64: 10}, syncs: map[int]float64{}}
}

// Weir is held against the best peer of those that sync alike; one that fails is
// left out, and the report says why.
func TestStepsAreHeldAgainstPeers(t *testing.T) {
	const second = time.Second
	tests := []struct {
		name       string
		at         int
		weir, peer time.Duration
		met        bool
		says       string
	}{
		{"ahead", 1, second, 2 * second, true, "2.0 × the best, peer (300, 150 steps/s)"},
		{"behind", 1, 2 * second, second, false, "0.5 × the best, peer (150, 300 steps/s)"},
		{"twenty times", 64, second, 20 * second, true, "20.0 × peer (300, 15 steps/s)"},
		{"nineteen times", 64, second, 19 * second, false, "19.0 × peer (300, 16 steps/s)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			weir := said(t, "weir", true, test.weir)
			weir.build = ""
			all := []*stepper{
				weir, said(t, "slow", true, 100*second), said(t, "peer", true, test.peer), said(t, "lazy", false, time.Millisecond),
				scripted(t, "broken", true, "echo it rains >&2; exit 3"), scripted(t, "mute", true, "echo done"),
			}
			b := &benchOfSteps{e: &env{dir: t.TempDir(), rounds: 2}, all: all}
			got, err := b.measure(t.Context(), test.at)
			if err != nil {
				t.Fatal(err)
			}
			var r Report
			b.report(&r, test.at, got)
			b.missing(&r)
			if len(r.Verdicts) != 1 || r.Verdicts[0].Met != test.met || r.Verdicts[0].Measured != test.says {
				t.Errorf("the verdict is %+v, want %v, %q", r.Verdicts, test.met, test.says)
			}
			for _, want := range []string{"broken was not measured: ", "it rains", "mute was not measured: ", "The syncs of peer were not counted: "} {
				if !strings.Contains(strings.Join(r.About, "\n"), want) {
					t.Errorf("the report does not say %q: %q", want, r.About)
				}
			}
			if i := slices.IndexFunc(r.Tables[0].Rows, func(row []string) bool { return row[0] == "broken" }); i < 0 || r.Tables[0].Rows[i][1] != "" {
				t.Errorf("the table says of what is broken: %q", r.Tables[0].Rows)
			}
		})
	}
}

// What is wrong with Weir itself ends the benchmark.
func TestStepsOfWeirMustWork(t *testing.T) {
	weir := scripted(t, "weir", true, "exit 1")
	weir.build = ""
	b := &benchOfSteps{e: &env{dir: t.TempDir(), rounds: 1}, all: []*stepper{weir, said(t, "peer", true, time.Second)}}
	if got, err := b.measure(t.Context(), 1); err == nil {
		t.Errorf("measure = %v", got)
	}
}

// The inputs to warm up are performed and not timed.
func TestTimeSteps(t *testing.T) {
	for _, class := range []string{"keyed by input", "idempotent"} {
		for _, at := range []int{1, 64} {
			got, err := timeSteps(t.Context(), filepath.Join(t.TempDir(), "data"), class, 50, at)
			if err != nil || got.Inputs != 50 || got.Elapsed <= 0 || got.CPU <= 0 {
				t.Errorf("timeSteps(%s, %d at once) = %+v, %v", class, at, got, err)
			}
		}
	}
}

func TestCallsIn(t *testing.T) {
	const head = "% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- --------- ----------------\n"
	for _, test := range []struct {
		name, summary string
		want          int
		says          string
	}{
		{"both", head + " 95.31    0.000102          18      5410           fdatasync\n  4.69    0.000001           6        33           fsync\n100.00    0.000103          18      5443           total\n", 5443, ""},
		{"with errors", head + "100.00    0.000102          18        12         2 fsync\n", 12, ""},
		{"none", head, 0, "strace saw no sync"},
		{"something else", "a b c d fsync\n", 0, "not understood"},
	} {
		file := filepath.Join(t.TempDir(), "strace")
		if err := os.WriteFile(file, []byte(test.summary), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := callsIn(file)
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: callsIn = %d, %v, want %d, %q", test.name, got, err, test.want, test.says)
		}
	}
}

// The flows of B7, and with them those of B4 and B5, run and come out as recorded.
func TestFlowsComeOutAsRecorded(t *testing.T) {
	for _, f := range verifiables() {
		if _, err := runAndVerify(t.Context(), filepath.Join(t.TempDir(), "data"), f, 50); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}
