package inspect

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A table aligns its columns. Cells that all look like numbers are aligned to the
// right.
type table struct {
	indent string
	head   []string
	rows   [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table, each line cut to width if that is not zero.
func (t *table) write(w io.Writer, width int) {
	all := t.rows
	if t.head != nil {
		all = append([][]string{t.head}, t.rows...)
	}
	var widths []int
	for _, row := range all {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	right := make([]bool, len(widths))
	for i := range right {
		right[i] = len(t.rows) > 0
		for _, row := range t.rows {
			right[i] = right[i] && (i >= len(row) || numeric(row[i]))
		}
	}
	for _, row := range all {
		var b strings.Builder
		b.WriteString(t.indent)
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case right[i]:
				b.WriteString(pad + cell)
			default:
				b.WriteString(cell + pad)
			}
			b.WriteString("  ")
		}
		fmt.Fprintln(w, clip(strings.TrimRight(b.String(), " "), width))
	}
}

// numeric tells whether a cell is empty or a number, with a unit or without.
func numeric(s string) bool {
	number, unit, _ := strings.Cut(s, " ")
	if strings.Trim(number, "0123456789,.–") != "" {
		return false
	}
	switch unit {
	case "", "B", "kB", "MB", "GB", "TB", "PB", "ms", "s":
		return true
	}
	return false
}

// clip cuts s to width runes; zero means not at all.
func clip(s string, width int) string {
	if width <= 1 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// line makes s fit for one line: control characters become visible.
func line(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString("↵")
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Count writes n with separators between thousands.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Plural is "1 dead letter", "2 dead letters".
func Plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return Count(n) + " " + thing + "s"
}

// dash is Count, but for zero.
func dash(n uint64) string {
	if n == 0 {
		return "–"
	}
	return Count(n)
}

// Size writes bytes for people, in powers of 1,000.
func Size(n int64) string {
	const units = "kMGTP"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n) / 1000
	i := 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}

// Line is s in one line, without what a terminal would take as a command.
func Line(s string) string { return line(s) }

// Clip cuts a line to the width of a terminal; zero means that it is none.
func Clip(s string, width int) string { return clip(s, width) }

// took writes a duration as people do.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// stamp writes a time to the second, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// write writes a value as indented JSON.
func (c *call) write(v any) error {
	enc := json.NewEncoder(c.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (c *call) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(c.env.Stdout, format, args...)
	return err
}

// println writes a line, cut to the terminal.
func (c *call) println(s string) error {
	_, err := fmt.Fprintln(c.env.Stdout, clip(s, c.env.Width))
	return err
}
