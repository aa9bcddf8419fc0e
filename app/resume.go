package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/inspect"
	"github.com/weirflow/weir/topology"
)

// changes are what the flags say of a flow that is not the one that its unfinished
// run had.
type changes struct {
	start, moved, retire []string
}

func (c *changes) flags(set *pflag.FlagSet) {
	set.StringArrayVar(&c.start, "start", nil, "of a changed flow: `stage=now`, stage=begin, or stage=orders.out:17 for the first record that it reads")
	set.StringArrayVar(&c.moved, "map", nil, "of a changed flow: `new=old`, a stage that goes on with what another had")
	set.StringArrayVar(&c.retire, "retire", nil, "of a changed flow: a `stage` that is gone, and of which the rest is given up")
}

func (c *changes) options(o *weir.Options) { o.Start, o.Map, o.Retire = c.start, c.moved, c.retire }

// resume goes on with a given run, or says what that would mean.
func (p *program) resume(args []string) error {
	var ask changes
	var plans, asJSON bool
	pl, err := p.prepare("resume", args, func(set *pflag.FlagSet) {
		set.BoolVar(&plans, "plan", false, "say where each stage would start, and touch nothing")
		set.BoolVar(&asJSON, "json", false, "write the plan as JSON")
		ask.flags(set)
	})
	if err != nil {
		return err
	}
	switch {
	case asJSON && !plans:
		return usage("--json writes the plan: add --plan")
	case plans && len(pl.rest) == 0:
		pl.rest = []string{p.def.Name()}
	case len(pl.rest) != 1:
		return usage("resume takes one run: %s resume RUN; %s ls lists them", p.def.Name(), p.def.Name())
	}
	id, done, err := p.unfinishedRun(pl, pl.rest[0])
	if err != nil || done {
		return err
	}
	if plans {
		return p.planResume(pl, id, &ask, asJSON)
	}
	return p.execute(pl, id, &ask)
}

// planResume says what going on with a run would mean.
func (p *program) planResume(pl *plan, id string, ask *changes, asJSON bool) error {
	o := p.options(pl, slog.New(slog.DiscardHandler))
	o.Run = id
	ask.options(&o)
	ctx, end := interrupted()
	defer end()
	r, err := p.def.PlanResume(ctx, o)
	var wiring *topology.ValidationError
	switch {
	case errors.As(err, &wiring):
		return exitError{exitUsage, err}
	case err != nil:
		return p.refused(err)
	}
	if asJSON {
		text, err := json.Marshal(r)
		if err != nil {
			return exitError{exitNoStart, fmt.Errorf("write the plan: %w", err)}
		}
		fmt.Fprintf(p.stdout, "%s\n", text)
	} else {
		fmt.Fprint(p.stdout, p.planText(r))
	}
	if len(r.Refusals) > 0 {
		return exitError{code: exitNoStart}
	}
	return nil
}

// planText is a plan for people.
func (p *program) planText(r *weir.ResumePlan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %s of %s: epoch %d would begin behind frame %s\n", r.Run, r.Flow, r.Epoch, inspect.Count(uint64(r.At)))
	if r.Owner != "" {
		fmt.Fprintf(&b, "%s has the run and goes on: this is as of that frame\n", r.Owner)
	}
	if !r.Changed {
		b.WriteString("the flow is as the run had it\n")
	} else {
		b.WriteString("\nthe flow changed:\n")
		for _, d := range r.Differences {
			if d.Shapes {
				fmt.Fprintf(&b, "  %s\n", d.Text)
			}
		}
	}
	b.WriteString("\nwhere each stage starts:\n")
	var rows columns
	for i := range r.Stages {
		rows.stage(&r.Stages[i])
	}
	rows.write(&b)
	if len(r.Refusals) == 0 {
		b.WriteString("\nnothing is in the way: " + p.def.Name() + " resume " + r.Run + "\n")
		return b.String()
	}
	b.WriteString("\nit is refused:\n")
	for _, no := range r.Refusals {
		fmt.Fprintf(&b, "  %s\n", no.Text)
		if no.Hint != "" {
			fmt.Fprintf(&b, "    %s\n", no.Hint)
		}
	}
	return b.String()
}

// columns are lines of a plan: stage, how it comes, journal, from where, how many
// records, why. A line of three is a stage's and a text, as long as it likes.
type columns [][]string

func (c *columns) write(b *strings.Builder) {
	var widths [6]int
	for _, row := range *c {
		for i, cell := range row {
			if len(row) > 3 || i < 2 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, row := range *c {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  " + cell + strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// stage adds the lines of one stage: its inputs, then what else there is to say.
func (c *columns) stage(s *weir.ResumeStage) {
	how := s.How
	switch s.How {
	case weir.StageRenamed:
		how = "was " + s.Was
	case weir.StageGoesOn:
		how = ""
	}
	name := s.Name
	line := func(cells ...string) {
		*c = append(*c, append([]string{name, how}, cells...))
		name, how = "", ""
	}
	if len(s.Inputs) == 0 && s.How != weir.StageGone {
		at := "from the beginning"
		if s.Position != "" {
			at = "behind position " + shorten(s.Position)
		}
		line("the world, " + at)
	}
	for _, in := range s.Inputs {
		if s.How == weir.StageGone || in.Passed > 0 && in.Passed == in.Records {
			line(in.Journal, "from "+inspect.Count(in.From), inspect.Plural(in.Passed, "record"), "given up")
			continue
		}
		why := in.Why
		if in.Again > 0 {
			why += fmt.Sprintf("; %s were read before and come again", inspect.Plural(in.Again, "record"))
		}
		if in.Passed > 0 {
			why += fmt.Sprintf("; %s before it are read by nobody", inspect.Plural(in.Passed, "record"))
		}
		line(in.Journal, "from "+inspect.Count(in.From), inspect.Plural(in.Records, "record"), why)
	}
	var more []string
	switch {
	case s.How == weir.StageGone && s.Open+s.Rows > 0:
		more = append(more, fmt.Sprintf("%s and %s are given up", inspect.Plural(uint64(s.Open), "accepted input"), entries(s.Rows)))
	case s.How == weir.StageGone && len(s.Inputs) == 0:
		more = append(more, "nothing of it is left")
	default:
		if s.Open > 0 {
			more = append(more, inspect.Plural(uint64(s.Open), "accepted input")+" are finished first")
		}
		if s.Rows > 0 && s.How != weir.StageEnded {
			more = append(more, "it has "+entries(s.Rows))
		}
	}
	for _, text := range append(more, s.Notes...) {
		line(text)
	}
}

func entries(n int) string {
	if n == 1 {
		return "1 entry of state"
	}
	return inspect.Count(uint64(n)) + " entries of state"
}

// shorten makes a position fit for a line.
func shorten(text string) string {
	const most = 40
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
