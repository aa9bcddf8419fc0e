package inspect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/journal/segment"
)

func show(c *call) error {
	return c.with(func(r *history.Run) error {
		s, err := r.Summary(c.ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.write(s)
		}
		return c.summary(s)
	})
}

func (c *call) summary(s *history.Summary) error {
	head := fmt.Sprintf("%s %s", s.Flow, s.Run)
	if s.Baseline != "" {
		head += " replays " + s.Baseline
	}
	lines := []string{head, result(s)}
	if s.Redrive != nil {
		lines = append(lines, "redrives "+s.Redrive.Run+": "+taken(s.Redrive.Taken))
	}
	if s.Reason != "" {
		why := "because: " + line(s.Reason)
		if s.Stage != "" && !strings.HasPrefix(s.Reason, "stage ") {
			why = "stage " + s.Stage + ": " + line(s.Reason)
		}
		lines = append(lines, why)
	}
	if s.Owner != "" {
		lines = append(lines, "in use by "+s.Owner)
	}
	for _, l := range lines {
		if err := c.println(l); err != nil {
			return err
		}
	}
	if s.Dir != "" { // whole, to be copied
		if err := c.printf("%s\n", s.Dir); err != nil {
			return err
		}
	}
	c.stages(s)
	c.edges(s)
	c.epochs(s)
	c.checkpoints(s)
	return c.hints(s)
}

// result is the run in one line.
func result(s *history.Summary) string {
	out := s.Name
	if n := len(s.Epochs); n > 0 && s.Epochs[n-1].Took > 0 {
		out += " in " + took(s.Epochs[n-1].Took)
	}
	return out + fmt.Sprintf(" · %s in · %s delivered · %s · %s", Count(s.In), Count(s.Out), Plural(s.Dead, "dead letter"), Size(s.Bytes))
}

// section writes a table below an empty line.
func (c *call) section(t *table) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintln(c.env.Stdout)
	t.write(c.env.Stdout, c.env.Width)
}

func (c *call) stages(s *history.Summary) {
	t := &table{head: []string{"STAGE", "KIND", "IN", "OUT", "DEAD", "OPEN", "STATE"}}
	for i := range s.Stages {
		st := &s.Stages[i]
		out := st.Delivered
		if st.Kind != "sink" && out == 0 {
			for _, p := range st.Ports {
				out += p.Count
			}
		}
		state := st.State
		switch {
		case st.Ended:
			state = "finished"
		case s.Name == "interrupted" && state != "":
			state = s.Name // what it was when the process died
		}
		if st.Reason != "" {
			state += ": " + line(st.Reason)
		}
		t.row(st.Name, st.Kind, dash(st.In), dash(out), dash(st.Dead), dash(uint64(st.Open)), state)
	}
	c.section(t)
}

func (c *call) edges(s *history.Summary) {
	t := &table{head: []string{"EDGE", "WRITTEN", "READ", "BEHIND", "CONTRACT"}}
	for i := range s.Edges {
		e := &s.Edges[i]
		verdict := "open"
		switch v := e.Verdict; {
		case v == nil && s.Baseline != "":
			verdict = "–" // those of the run that is replayed hold
		case v == nil:
		case !v.Passed:
			verdict = fmt.Sprintf("FAILED at %d: %s", v.Parts, line(v.Reason))
		case v.Final:
			verdict = "passed"
		default:
			verdict = "passed so far"
		}
		if e.Stalled != "" {
			verdict += ", " + line(e.Stalled)
		}
		behind := uint64(0)
		if e.Written > e.Read {
			behind = e.Written - e.Read
		}
		t.row(e.From+" → "+e.To, Count(e.Written), Count(e.Read), dash(behind), verdict)
	}
	c.section(t)
}

func (c *call) epochs(s *history.Summary) {
	t := &table{head: []string{"EPOCH", "STATUS", "STARTED (UTC)", "TOOK", "CUT", "BUILD"}}
	for i := range s.Epochs {
		e := &s.Epochs[i]
		cut := "–"
		if e.Cut > 0 {
			cut = Size(e.Cut)
		}
		build := e.Build
		if e.Changed {
			build = strings.TrimSpace(build + " (changed)")
		}
		t.row(strconv.FormatUint(e.Number, 10), e.Status, stamp(e.Started), took(e.Took), cut, line(build))
	}
	c.section(t)
}

func (c *call) checkpoints(s *history.Summary) {
	t := &table{head: []string{"CHECKPOINT", "FRAME", "REREAD FROM", "SNAPSHOT"}}
	for i := range s.Stages {
		st := &s.Stages[i]
		if st.Checkpoint == 0 {
			continue
		}
		from, snap := "–", st.Snapshot
		if st.Redo != 0 {
			from = Count(uint64(st.Redo))
		}
		if snap == "" {
			snap = "(no state)"
		}
		t.row(st.Name, Count(uint64(st.Checkpoint)), from, snap)
	}
	c.section(t)
}

// hints says what to look at next.
func (c *call) hints(s *history.Summary) error {
	var out []string
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Dead > 0 {
			out = append(out, fmt.Sprintf("  %s records %s %s.dead", c.env.Program, c.args[0], st.Name))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return c.printf("\n%s\n", strings.Join(out, "\n"))
}

func check(c *call) error {
	dir, err := c.find(c.args[0])
	if err != nil {
		return err
	}
	r, err := history.Open(dir)
	if err != nil {
		return unreadable(c, err)
	}
	rep, err := r.Check(c.ctx)
	if e := r.Close(); err == nil {
		err = e
	}
	if err != nil {
		return unreadable(c, err)
	}
	if c.json {
		err = c.write(rep)
	} else {
		err = c.report(rep)
	}
	switch {
	case err != nil:
		return err
	case len(rep.Problems) > 0:
		return exit(Damaged)
	case rep.Open:
		return exit(Open)
	}
	return nil
}

// unreadable says why nothing could be checked, unless that is the damage.
func unreadable(c *call, err error) error {
	fmt.Fprintf(c.env.Stderr, "%s: %v\n", c.env.Program, err)
	if _, ok := errors.AsType[*segment.CorruptError](err); ok {
		return exit(Damaged)
	}
	return exit(Unreadable)
}

func (c *call) report(rep *history.Report) error {
	read := strings.Join([]string{
		Plural(rep.Frames, "frame"), Plural(rep.Transitions, "transition"), Plural(rep.Records, "record"), Plural(uint64(rep.Snapshots), "snapshot"),
	}, ", ")
	for _, p := range rep.Problems {
		if err := c.printf("%s\n", p); err != nil {
			return err
		}
	}
	verdict := "clean"
	switch n := len(rep.Problems); {
	case n > 0:
		verdict = "damaged: " + Plural(uint64(n), "problem")
	case rep.Open:
		verdict = "clean so far, the run is in use"
	}
	if err := c.printf("%s (%s)\n", verdict, read); err != nil {
		return err
	}
	if rep.Trimmed {
		return c.printf("retention has removed what was before frame %d; that part can no longer be checked\n", rep.From)
	}
	return nil
}

func graph(c *call) error {
	return c.with(func(r *history.Run) error {
		g := r.Graph()
		if g == nil {
			return fmt.Errorf("the manifest of run %s has no definition", r.Manifest().Run)
		}
		if c.json {
			c.format = "json"
		}
		switch c.format {
		case "text":
			return c.printf("%s", g.Text())
		case "mermaid":
			return c.printf("%s", g.Mermaid())
		case "dot":
			return c.printf("%s", g.DOT())
		case "json":
			return c.write(g)
		}
		return usagef("--format %s: there are text, mermaid, dot and json", c.format)
	})
}
