package inspect

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/journal"
)

// redrive shows what could be processed again. It takes the program with the flow's
// code to do it.
func redrive(c *call) error {
	if len(c.args) > 1 {
		return usagef("%s redrive RUN shows what a run gave up on; to process it again takes the code: PROGRAM redrive %s, with the program of the flow", c.env.Program, strings.Join(c.args, " "))
	}
	return c.with(func(r *history.Run) error {
		all, by, err := r.GivenUp(c.ctx)
		if err != nil {
			return err
		}
		if c.json {
			if all == nil {
				all = []history.GivenUp{}
			}
			return c.write(struct {
				GivenUp   []history.GivenUp  `json:"given_up"`
				Redrivers []history.Redriver `json:"redrivers,omitempty"`
			}{all, by})
		}
		return c.givenUp(r, all, by)
	})
}

func (c *call) givenUp(r *history.Run, all []history.GivenUp, by []history.Redriver) error {
	if len(all) == 0 {
		return c.println("no stage gave anything up")
	}
	t := &table{head: []string{"GIVEN UP", "LETTERS", "REDRIVEN", "LEFT", ""}}
	var left []string
	for i := range all {
		g := &all[i]
		var notes []string
		if g.Unknown > 0 {
			notes = append(notes, Count(g.Unknown)+" may have happened")
		}
		if g.Read {
			notes = append(notes, "read by other stages")
		}
		t.row(g.Journal, Count(g.Letters), dash(g.Taken), dash(g.Letters-g.Taken), strings.Join(notes, ", "))
		if g.Letters > g.Taken {
			left = append(left, g.Journal)
		}
	}
	t.write(c.env.Stdout, c.env.Width)
	runs := &table{head: []string{"REDRIVEN BY", "STATUS", "LETTERS"}}
	for i := range by {
		runs.row(by[i].Run, by[i].Status, taken(by[i].Taken))
	}
	c.section(runs)
	if len(left) == 0 {
		return nil
	}
	program := c.env.Program
	if program == "weir" { // which has no flow
		program = "PROGRAM"
	}
	if baseline := r.Manifest().Baseline; baseline != "" {
		return c.printf("\nThis run replays another, whose letters these are:\n  %s redrive %s\n", program, baseline)
	}
	if err := c.printf("\nThe program of the flow processes them again:\n"); err != nil {
		return err
	}
	for _, name := range left {
		if err := c.printf("  %s redrive %s %s\n", program, r.Manifest().Run, name); err != nil {
			return err
		}
	}
	return nil
}

// taken is letters as people write them: validate.dead:1–3, 7.
func taken(letters []journal.Letters) string {
	var b strings.Builder
	last := ""
	for i, l := range letters {
		switch {
		case i == 0:
			b.WriteString(l.Journal + ":")
		case l.Journal != last:
			b.WriteString(" " + l.Journal + ":")
		default:
			b.WriteString(", ")
		}
		last = l.Journal
		if l.From == l.To {
			b.WriteString(strconv.FormatUint(l.From, 10))
		} else {
			fmt.Fprintf(&b, "%d–%d", l.From, l.To)
		}
		if i == maxTaken && len(letters) > maxTaken+1 {
			fmt.Fprintf(&b, " and %d more ranges", len(letters)-i-1)
			break
		}
	}
	return b.String()
}

// maxTaken is how many ranges of letters are shown.
const maxTaken = 20
