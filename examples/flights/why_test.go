package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/app"
)

// An origin is an airport as the statistics have it.
type origin struct {
	iata    string
	flights int
	ref     string // of its row in late_by_airport.csv
}

// What why and impact write as JSON, as far as it matters here.
type (
	record struct {
		Ref     string          `json:"ref"`
		Payload json.RawMessage `json:"payload"`
	}
	explanation struct {
		Record record  `json:"record"`
		Causes []cause `json:"causes"`
	}
	cause struct {
		Input  *explanation `json:"input"`
		Left   string       `json:"left"`
		Change *change      `json:"change"`
	}
	change struct {
		Causes []cause `json:"causes"`
		Before *change `json:"before"`
		Left   string  `json:"left"`
	}
	impact struct {
		Effects []struct {
			Kind   string `json:"kind"`
			Stage  string `json:"stage"`
			Status string `json:"status"`
			Record record `json:"record"`
		} `json:"effects"`
		Waiting []string `json:"waiting"`
		Left    string   `json:"left"`
	}
)

// ask runs an inspection command and decodes what it answers.
func ask[T any](t *testing.T, args ...string) T {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := app.Run(append(args, "--json"), strings.NewReader(""), &stdout, &stderr, flights); code != 0 {
		t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), code, &stderr)
	}
	var v T
	if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return v
}

// TestWhyAndImpact asks where a mean in late_by_airport.csv comes from, and finds
// exactly the flights of its airport; and what became of one of these flights.
func TestWhyAndImpact(t *testing.T) {
	data, out := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "out")
	var stdout, stderr bytes.Buffer
	if code := app.Run([]string{"--data", data, "--out", out}, strings.NewReader(""), &stdout, &stderr, flights); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &stderr)
	}
	of := rare(t, filepath.Join(out, "late_by_airport.csv"))

	x := ask[explanation](t, "why", "flights", of.ref, "--data", data, "--limit", "1000", "--depth", "100", "--chain", "100", "--fan", "100")
	leaves := map[string]Flight{}
	if cut := collect(&x, leaves); cut != "" {
		t.Fatalf("why %s left something out: %s", of.ref, cut)
	}
	var got []string
	first := ""
	for ref, f := range leaves {
		got = append(got, line(t, f))
		if f.Delay == nil || f.Origin != of.iata {
			t.Errorf("%s is a flight from %s, not %s", ref, f.Origin, of.iata)
		}
		if first == "" || ref < first {
			first = ref
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(flightsFrom(t, of.iata), got); diff != "" || len(got) != of.flights {
		t.Fatalf("why %s leads to %d flights of %s, want %d (-want +got):\n%s", of.ref, len(got), of.iata, of.flights, diff)
	}

	i := ask[impact](t, "impact", "flights", first, "--data", data, "--limit", "1000")
	if i.Left != "" || len(i.Waiting) > 0 {
		t.Errorf("impact %s left out %q, waits for %v", first, i.Left, i.Waiting)
	}
	var departure, stats, delivered, counted bool
	for _, e := range i.Effects {
		switch {
		case e.Kind == "record" && e.Stage == "locate":
			departure = strings.Contains(string(e.Record.Payload), of.iata)
		case e.Kind == "record" && e.Stage == "rows" && e.Record.Ref == "rows.out:"+strings.TrimPrefix(of.ref, "rows:"):
			stats = true
		case e.Kind == "receipt" && e.Stage == "write_departures" && e.Status == "success":
			delivered = true
		case e.Kind == "receipt" && e.Stage == "write_stats" && e.Status == "success":
			counted = true
		}
	}
	if !departure || !stats || !delivered || !counted {
		t.Errorf("impact %s reaches its departure %v, delivered %v, the row %s %v, delivered %v; want all",
			first, departure, delivered, of.ref, stats, counted)
	}
}

// rare returns an airport with four flights, and the number of its row.
func rare(t *testing.T, path string) origin {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(rows, func(r []string) bool { return r[2] == "4" })
	if i < 0 {
		t.Fatal("no airport has four flights")
	}
	return origin{rows[i][0], 4, fmt.Sprintf("rows:%d", i)}
}

// flightsFrom returns the lines of flights.jsonl from an airport, sorted.
func flightsFrom(t *testing.T, iata string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("flights.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if strings.Contains(l, `"origin":"`+iata+`"`) {
			lines = append(lines, strings.TrimSpace(l))
		}
	}
	slices.Sort(lines)
	return lines
}

func line(t *testing.T, f Flight) string {
	t.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// collect gathers the flights below x by their refs and returns what was left
// out, "" if nothing was.
func collect(x *explanation, leaves map[string]Flight) (left string) {
	if strings.HasPrefix(x.Record.Ref, "flights.") {
		var f Flight
		if err := json.Unmarshal(x.Record.Payload, &f); err != nil {
			return err.Error()
		}
		leaves[x.Record.Ref] = f
	}
	return causes(x.Causes, leaves)
}

func causes(all []cause, leaves map[string]Flight) (left string) {
	for i := range all {
		c := &all[i]
		if c.Input != nil {
			left += collect(c.Input, leaves)
		} else if c.Left != "shown above" { // the airport, which all of them have in common
			left += c.Left
		}
		for ch := c.Change; ch != nil; ch = ch.Before {
			left += ch.Left + causes(ch.Causes, leaves)
		}
	}
	return left
}
