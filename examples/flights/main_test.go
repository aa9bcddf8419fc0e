package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/app"
)

// want computes the three files in the plainest way there is: read everything,
// loop once.
func want(t *testing.T, flightsFile, airportsFile string) map[string]string {
	t.Helper()
	airports, err := os.Open(airportsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer airports.Close()
	rows, err := csv.NewReader(airports).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	city := map[string]string{}
	for _, r := range rows[1:] {
		city[r[0]] = r[2]
	}

	type sum struct{ flights, late, minutes int }
	var departures, unknown strings.Builder
	sums := map[string]sum{}
	lines, err := os.ReadFile(flightsFile)
	if err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(bytes.NewReader(lines)); in.Scan(); {
		var f struct {
			Delay  int    `json:"delay"`
			Origin string `json:"origin"`
		}
		if err := json.Unmarshal(in.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		c, known := city[f.Origin]
		if !known {
			fmt.Fprintln(&unknown, in.Text())
			continue
		}
		fmt.Fprintf(&departures, `{"origin":%q,"city":%q,"delay":%d,"late":%t}`+"\n", f.Origin, c, f.Delay, f.Delay > 15)
		s := sums[f.Origin]
		s.flights++
		s.minutes += f.Delay
		if f.Delay > 15 {
			s.late++
		}
		sums[f.Origin] = s
	}
	stats := "origin,city,flights,late,mean_delay_minutes\n"
	for _, o := range slices.Sorted(maps.Keys(sums)) {
		s := sums[o]
		stats += fmt.Sprintf("%s,%s,%d,%d,%.2f\n", o, city[o], s.flights, s.late, float64(s.minutes)/float64(s.flights))
	}
	return map[string]string{
		"departures.jsonl": departures.String(), "unknown_airports.jsonl": unknown.String(), "late_by_airport.csv": stats,
	}
}

func readFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[e.Name()] = string(b)
	}
	return files, nil
}

func TestTheNumbersAreRight(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	var stdout, stderr bytes.Buffer
	code := app.Run([]string{"--data", t.TempDir(), "--out", out}, strings.NewReader(""), &stdout, &stderr, flights)
	if code != 0 {
		t.Fatalf("exit code %d, want 0\n%s", code, &stderr)
	}
	files, err := readFiles(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want(t, "flights.jsonl", "airports.csv"), files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
