package app

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/inspect"
)

// verdict shows what verification found, for people.
func (p *program) verdict(v *weir.Verification) {
	w := &sheet{width: p.width()}
	w.line("%s %s: %s", v.Flow, v.Run, v.Outcome)
	w.line("%s executed again · %s and %s of state compared",
		inspect.Plural(v.Transitions, "transition"), inspect.Plural(v.Records, "record"), inspect.Plural(v.Changes, "change"))
	w.line("%s · frames %d to %d", partOf(&v.Part), v.At.First, v.At.LSN)
	if v.Build.Recorded != v.Build.Now {
		w.line("recorded by build %s, executed by %s", v.Build.Recorded, v.Build.Now)
	}
	if v.Definition.Recorded != v.Definition.Now {
		w.line("the definition of the flow is not the recorded one")
	}
	for _, s := range v.Settings {
		now := "is " + s.Now
		if s.Now == "" {
			now = "is not known any more"
		}
		w.line("setting %s was %s, %s", s.Name, s.Recorded, now)
	}
	w.differences(v)
	if len(v.Groups) > 1 {
		w.line("")
		w.line("by stage and key:")
		for _, g := range v.Groups[:min(len(v.Groups), maxGroups)] {
			w.line("  %8s  %s %s", inspect.Count(g.Count), g.Stage, g.Key)
		}
		if left := len(v.Groups) - maxGroups; left > 0 {
			w.line("  … and %d more groups", left)
		}
	}
	if len(v.Skipped) > 0 {
		w.line("")
	}
	for _, s := range v.Skipped {
		what := "all of it"
		if s.Transitions > 0 {
			what = inspect.Plural(s.Transitions, "transition")
		}
		w.line("not executed again: %s", strings.TrimSpace(s.Stage+" "+what))
		w.line("  %s", s.Reason)
	}
	fmt.Fprint(p.stdout, w.b.String())
}

// maxGroups is how many groups of differences are shown.
const maxGroups = 20

// A sheet is what is shown, without what a terminal would take as a command, and cut
// to the terminal.
type sheet struct {
	b     strings.Builder
	width int
}

func (w *sheet) line(format string, args ...any) {
	w.b.WriteString(inspect.Clip(inspect.Line(fmt.Sprintf(format, args...)), w.width))
	w.b.WriteByte('\n')
}

func partOf(p *weir.VerifiedPart) string {
	part := "the whole run"
	if len(p.Stages) > 0 {
		part = "only " + strings.Join(p.Stages, ", ")
	}
	if p.From != "" {
		part += ", from " + p.From
	}
	if p.To != "" {
		part += ", up to " + p.To
	}
	return part
}

// differences lists them, each with the fields that differ.
func (w *sheet) differences(v *weir.Verification) {
	if v.Found == 0 {
		return
	}
	w.line("")
	w.line("%s:", inspect.Plural(v.Found, "difference"))
	for i := range v.Differences {
		d := &v.Differences[i]
		w.line("  %s", place(d))
		for _, f := range d.Fields {
			was, now := orNothing(f.Recorded), orNothing(f.Computed)
			if len(f.Path)+len(was)+len(now) < 50 {
				w.line("    %s: recorded %s, computed %s", f.Path, was, now)
				continue
			}
			w.line("    %s", f.Path)
			w.line("      recorded %s", was)
			w.line("      computed %s", now)
		}
	}
	if left := v.Found - uint64(len(v.Differences)); left > 0 {
		w.line("  … and %s more; --max-differences lists them", inspect.Count(left))
	}
}

// place says where a difference is, and what about.
func place(d *weir.Difference) string {
	at := d.Journal
	if d.Seq > 0 {
		at = fmt.Sprintf("%s:%d", d.Journal, d.Seq)
	}
	parts := []string{at + " " + string(d.Kind)}
	if d.Kind == weir.DifferenceExtra && d.Seq > 0 {
		parts[0] = at + " would come after one more"
	}
	if d.Step != "" {
		parts = append(parts, "step "+d.Step)
	}
	if d.Input != "" && !strings.HasPrefix(at, d.Input) {
		parts = append(parts, "of "+d.Input)
	}
	if d.Key != "" {
		parts = append(parts, "key "+d.Key)
	}
	return strings.Join(append(parts, fmt.Sprintf("frame %d", d.LSN)), " · ")
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// width is that of the terminal that the results go to, zero if it is none.
func (p *program) width() int {
	f, ok := p.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return w
}
