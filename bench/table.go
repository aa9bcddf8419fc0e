package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// A Table is what people see of a benchmark.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

func (t *Table) add(cells ...string) { t.Rows = append(t.Rows, cells) }

// print writes t with aligned columns, the first to the left.
func (t *Table) print(w io.Writer) {
	widths := make([]int, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				b.WriteString("  " + pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	fmt.Fprintf(w, "\n%s\n", t.Title)
	line(t.Columns)
	for _, row := range t.Rows {
		line(row)
	}
}

// markdown writes t as a Markdown table.
func (t *Table) markdown(w io.Writer) {
	row := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintf(w, "\n**%s**\n\n", t.Title)
	row(t.Columns)
	fmt.Fprintf(w, "|---%s|\n", strings.Repeat("|---:", len(t.Columns)-1))
	for _, r := range t.Rows {
		row(r)
	}
}

// count writes a number with three significant digits: 950, 1.23 k, 45.6 M.
func count(v float64) string {
	switch {
	case v >= 1e9:
		return three(v/1e9) + " G"
	case v >= 1e6:
		return three(v/1e6) + " M"
	case v >= 1e4:
		return three(v/1e3) + " k"
	}
	return fmt.Sprintf("%.0f", v)
}

func three(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// spread writes a figure's least and greatest value relative to its median.
func spread(f Figure) string {
	if f.Median == 0 {
		return ""
	}
	return fmt.Sprintf("%+.0f…%+.0f %%", 100*(f.Min/f.Median-1), 100*(f.Max/f.Median-1))
}

func ratio(v float64) string { return three(v) + " ×" }

func nanoseconds(v float64) string { return duration(time.Duration(v)) }

// duration writes d with three significant digits.
func duration(d time.Duration) string {
	v := float64(d)
	switch {
	case d >= time.Second:
		return three(v/1e9) + " s"
	case d >= time.Millisecond:
		return three(v/1e6) + " ms"
	case d >= time.Microsecond:
		return three(v/1e3) + " µs"
	}
	return three(v) + " ns"
}

func plural(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
