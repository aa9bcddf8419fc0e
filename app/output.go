package app

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// count writes n with separators between thousands.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is "1 dead letter", "2 dead letters".
func plural(n uint64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + one + "s"
}

// size writes bytes for people, in powers of 1,000, as the inspection commands do.
func size(n int64) string {
	const units = "kMGTP"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for ; f >= 999.5 && i < len(units)-1; i++ {
		f /= 1000
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}

// took writes a duration for people, with two or three digits that matter.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// A row is one stage in the live table.
type row struct {
	name, state             string
	in, out, dead, inFlight uint64
	rate                    float64 // records a second since the last drawing
}

// A screen draws a table over itself on a terminal.
type screen struct {
	w     io.Writer
	lines int // drawn last, above the cursor
	width int
}

// draw replaces what was drawn.
func (s *screen) draw(head string, rows []row) {
	name := len("stage")
	for _, r := range rows {
		name = max(name, len(r.name))
	}
	name = min(name, max(10, s.width-60))
	var b strings.Builder
	s.erase(&b)
	line := func(text string) {
		if len(text) > s.width {
			text = text[:s.width]
		}
		b.WriteString(text + "\n")
	}
	line(head)
	line(fmt.Sprintf("%-*s %10s %10s %7s %9s %9s  %s", name, "stage", "in", "out", "dead", "in flight", "per s", "state"))
	for _, r := range rows {
		n := r.name
		if len(n) > name {
			n = "…" + n[len(n)-name+1:]
		}
		line(fmt.Sprintf("%-*s %10s %10s %7s %9s %9s  %s", name, n, count(r.in), count(r.out), count(r.dead), count(r.inFlight), count(uint64(r.rate)), r.state))
	}
	s.lines = len(rows) + 2
	fmt.Fprint(s.w, b.String())
}

// erase moves to the beginning of what was drawn and clears it.
func (s *screen) erase(b *strings.Builder) {
	if s.lines > 0 {
		fmt.Fprintf(b, "\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
}

// clear removes the table.
func (s *screen) clear() {
	var b strings.Builder
	s.erase(&b)
	fmt.Fprint(s.w, b.String())
}
