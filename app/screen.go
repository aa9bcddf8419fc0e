package app

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/weirflow/weir/internal/inspect"
)

// A row is one stage in the live table.
type row struct {
	name, state             string
	in, out, dead, inFlight uint64
	rate                    float64 // records a second since the last drawing
}

// table returns head and the rows as lines.
func table(head string, rows []row, width int) []string {
	name := len("stage")
	for _, r := range rows {
		name = max(name, len(r.name))
	}
	name = min(name, max(10, width-60))
	lines := []string{head, fmt.Sprintf("%-*s %10s %10s %7s %9s %9s  %s", name, "stage", "in", "out", "dead", "in flight", "per s", "state")}
	for _, r := range rows {
		n := r.name
		if len(n) > name { // the end of a name tells more
			n = "…" + n[len(n)-name+1:]
		}
		lines = append(lines, fmt.Sprintf("%-*s %10s %10s %7s %9s %9s  %s",
			name, n, inspect.Count(r.in), inspect.Count(r.out), inspect.Count(r.dead), inspect.Count(r.inFlight), inspect.Count(uint64(r.rate)), strings.ToLower(r.state)))
	}
	return lines
}

// A screen keeps some lines at the bottom of a terminal; whatever the flow
// prints scrolls above them.
type screen struct {
	tty    *os.File
	lines  int // kept at the bottom
	height int // of the terminal when they were
}

// openScreen returns the screen of a terminal, nil if f is none.
func openScreen(f *os.File) *screen {
	if !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	s := &screen{tty: f}
	s.write("\x1b7\x1b[r\x1b8\x1b[J") // after a process that was killed and could not
	return s
}

// size returns the terminal's size now; people change it.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.tty.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

// show replaces the lines at the bottom. Some of them are left out if the
// terminal is low.
func (s *screen) show(lines []string) {
	width, height := s.size()
	lines = fit(lines, width, height)
	var b strings.Builder
	if len(lines) != s.lines || height != s.height {
		s.release(&b)
		s.lines, s.height = len(lines), height
		b.WriteString(strings.Repeat("\n", s.lines)) // scrolls what is there out of the way
		fmt.Fprintf(&b, "\x1b[%dA\x1b7\x1b[1;%dr\x1b8", s.lines, height-s.lines)
	}
	b.WriteString("\x1b7")
	for i, l := range lines {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[2K%s", height-len(lines)+i+1, l)
	}
	b.WriteString("\x1b8")
	s.write(b.String()) // at once, so that nothing of the flow comes in between
}

// clear gives the bottom back.
func (s *screen) clear() {
	var b strings.Builder
	s.release(&b)
	s.write(b.String())
}

func (s *screen) release(b *strings.Builder) {
	if s.lines > 0 {
		fmt.Fprintf(b, "\x1b7\x1b[r\x1b[%d;1H\x1b[J\x1b8", s.height-s.lines+1)
		s.lines = 0
	}
}

// write writes to the terminal. There is nobody to tell if that fails.
func (s *screen) write(text string) { _, _ = s.tty.WriteString(text) }

// fit cuts lines to the terminal and leaves at least half of it to the flow.
func fit(lines []string, width, height int) []string {
	if most := max(height/2, height-16); len(lines) > most {
		left := len(lines) - most + 1
		lines = append(slices.Clone(lines[:max(0, most-1)]), fmt.Sprintf("… and %d more", left))
	}
	for i, l := range lines {
		if r := []rune(l); len(r) > width {
			lines[i] = string(r[:width])
		}
	}
	return lines
}
