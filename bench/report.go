package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A Report is what a benchmark found.
type Report struct {
	ID       string        `json:"id"`
	Title    string        `json:"title"`
	About    []string      `json:"about"` // what was measured and how, a paragraph each
	Command  string        `json:"command"`
	Short    bool          `json:"short"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took_ns"`
	Machine  Machine       `json:"machine"`
	Tables   []*Table      `json:"tables"`
	Verdicts []Verdict     `json:"verdicts"`
	Cases    []Case        `json:"cases"`
}

// A Verdict compares a target with what was measured.
type Verdict struct {
	Target   string `json:"target"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

// A Case is everything that was measured of one case: each run of each program.
type Case struct {
	Name     string              `json:"name"`
	Programs map[string][]Sample `json:"programs"`
}

func newReport(b benchmark, e *env, command string) *Report {
	return &Report{
		ID: b.id, Title: b.title, Command: command, Short: e.short,
		Started: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(e.dir),
	}
}

func (r *Report) finish() { r.Took = time.Since(r.Started).Truncate(time.Second) }

// about adds a paragraph on what is measured.
func (r *Report) about(text string) { r.About = append(r.About, text) }

func (r *Report) table(title string, columns ...string) *Table {
	t := &Table{Title: title, Columns: columns}
	r.Tables = append(r.Tables, t)
	return t
}

func (r *Report) keep(name string, programs map[string][]Sample) {
	r.Cases = append(r.Cases, Case{name, programs})
}

func (r *Report) verdict(met bool, target, measured string, args ...any) {
	r.Verdicts = append(r.Verdicts, Verdict{target, fmt.Sprintf(measured, args...), met})
}

// print writes the report for people.
func (r *Report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s  %s\n%s\n%s, took %v\n", r.ID, r.Title, r.Machine.String(), r.Command, r.Took)
	if r.Short {
		fmt.Fprintln(w, "short run: proves that it works; the figures mean little")
	}
	for _, t := range r.Tables {
		t.print(w)
	}
	if r.Short {
		return
	}
	if len(r.Verdicts) > 0 {
		fmt.Fprintln(w)
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(w, "%-6s  %s: %s\n", v.word(), v.Target, v.Measured)
	}
}

func (v Verdict) word() string {
	if v.Met {
		return "met"
	}
	return "MISSED"
}

func (r *Report) save(file string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o666)
}

const preamble = `# Performance

Measured by the program in ` + "`bench/`" + `, which wrote this file from its results (` + "`cd bench && go run . report`" + `). Every ratio compares
programs that ran interleaved on one machine, in one process unless it is said; figures are medians, with the least and greatest run beside them where
it matters. Absolute numbers say something about the machine, ratios about Weir. A target that was missed says so.

Run them on your machine: ` + "`cd bench && go run .`" + ` for all, ` + "`go run . b1`" + ` for one (or ` + "`make bench-b1`" + `), ` + "`go run . -short`" + ` to see in a minute that they run.
b5 builds the programs that it compares with, which takes minutes the first time, and wants PostgreSQL's programs and strace; what is missing is named.
Those programs are a module of their own, ` + "`bench/peers`" + `, which CI does not build for that reason; ` + "`make peers`" + ` vets and tests them.
`

// writeMarkdown summarizes the results in dir.
func writeMarkdown(file, dir string) error {
	var out bytes.Buffer
	out.WriteString(preamble)
	found := 0
	for _, b := range benchmarks {
		data, err := os.ReadFile(filepath.Join(dir, b.id+".json"))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		var r Report
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("%s: %w", b.id, err)
		}
		if r.Short {
			return fmt.Errorf("%s holds a short run, which is no measurement: run %s again without -short", dir, b.id)
		}
		r.markdown(&out)
		found++
	}
	if found == 0 {
		return fmt.Errorf("no results in %s: run the benchmarks first", dir)
	}
	return os.WriteFile(file, out.Bytes(), 0o666)
}

func (r *Report) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s %s\n\n`%s`, %s, took %v. %s.\n", r.ID, r.Title, r.Command, r.Started.Format("2006-01-02 15:04 MST"), r.Took, r.Machine.String())
	if load, err := strconv.ParseFloat(r.Machine.Load, 64); err == nil && load > float64(r.Machine.Cores)/2 {
		fmt.Fprintf(w, "\n**Other programs used this machine meanwhile (load %s on %s)**: CPU per record, bytes, syncs and ratios of CPU stand; rates and times\nare worse than the machine's, and ratios of them uncertain.\n",
			r.Machine.Load, plural(r.Machine.Cores, "core"))
	}
	for _, text := range r.About {
		fmt.Fprintf(w, "\n%s\n", text)
	}
	if len(r.Verdicts) > 0 {
		fmt.Fprint(w, "\n| target | measured | |\n|---|---|---|\n")
		for _, v := range r.Verdicts {
			fmt.Fprintf(w, "| %s | %s | %s |\n", v.Target, v.Measured, v.word())
		}
	}
	for _, t := range r.Tables {
		t.markdown(w)
	}
}
