package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/history"
)

// listed is a run as ls shows it.
type listed struct {
	history.Listed
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	Bytes  int64  `json:"bytes"`
}

// runs lists the runs of the data directory with their status.
func (c *call) runs(flow string) ([]listed, error) {
	all, err := history.List(c.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &history.NotFoundError{What: c.data, Why: "there is no such data directory: say where runs are with --data or WEIR_DATA"}
	}
	if err != nil {
		return nil, err
	}
	out := []listed{}
	for _, l := range all {
		if flow != "" && l.Flow != flow {
			continue
		}
		x := listed{Listed: l}
		if x.Bytes, err = history.Size(l.Dir); err != nil {
			return nil, err
		}
		x.Status, x.Reason = status(l)
		out = append(out, x)
	}
	if flow != "" && len(out) == 0 {
		_, err := history.Find(c.data, flow)
		if err == nil {
			err = &history.NotFoundError{What: flow, Why: "is a run, not a flow"}
		}
		return nil, err
	}
	return out, nil
}

// status says how a run stands, also one that cannot be read.
func status(l history.Listed) (name, reason string) {
	if l.Err != nil {
		return "unreadable", l.Err.Error()
	}
	r, err := history.Open(l.Dir)
	if err != nil {
		return "unreadable", err.Error()
	}
	s, err := r.Status()
	if err = errors.Join(err, r.Close()); err != nil {
		return "unreadable", err.Error()
	}
	return s.Name, s.Reason
}

func ls(c *call) error {
	flow := ""
	if len(c.args) > 0 {
		flow = c.args[0]
	}
	runs, err := c.runs(flow)
	if err != nil {
		return err
	}
	if c.json {
		return c.write(runs)
	}
	if len(runs) == 0 {
		return c.printf("no runs in %s\n", c.data)
	}
	for from := 0; from < len(runs); {
		to := from
		t := table{indent: "  ", head: []string{"RUN", "STATUS", "CREATED (UTC)", "EPOCHS", "SIZE", ""}}
		for ; to < len(runs) && runs[to].Flow == runs[from].Flow; to++ {
			r := &runs[to]
			of := ""
			switch {
			case r.Replays != "":
				of = "replays " + r.Replays
			case r.Redrives != "":
				of = "redrives " + r.Redrives
			}
			t.row(r.Run, r.Status, stamp(r.Created), strconv.Itoa(r.Epochs), Size(r.Bytes), of)
		}
		if err := c.println(runs[from].Flow); err != nil {
			return err
		}
		t.write(c.env.Stdout, c.env.Width)
		for _, r := range runs[from:to] {
			if r.Status == "unreadable" {
				fmt.Fprintf(c.env.Stderr, "%s: %s\n", r.Dir, r.Reason)
			}
		}
		from = to
	}
	return nil
}

func rm(c *call) error {
	var dirs []string
	for _, name := range c.args {
		dir, err := c.find(name)
		if err != nil {
			return err
		}
		if err := c.onlyOne(name); err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if err := c.remove(dir, c.force); err != nil {
			return err
		}
	}
	return nil
}

// onlyOne refuses a flow's name for removal when the flow has several runs: the
// newest is rarely the one that is meant.
func (c *call) onlyOne(name string) error {
	all, err := history.List(c.data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var ids []string
	for _, l := range all {
		if l.Flow == name {
			ids = append(ids, l.Run)
		}
	}
	if len(ids) > 1 {
		return usagef("%s has %d runs: say which by id (%s), or use prune", name, len(ids), strings.Join(ids[:min(3, len(ids))], ", "))
	}
	return nil
}

type removal struct {
	Dir    string `json:"dir"`
	Bytes  int64  `json:"bytes"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// remove removes one run and says so.
func (c *call) remove(dir string, force bool) error {
	n, err := history.Size(dir)
	if err != nil {
		return err
	}
	did := "removed"
	if c.dryRun {
		did = "would remove"
	} else if err := history.Remove(dir, force); err != nil {
		if errors.Is(err, history.ErrUnfinished) {
			return fmt.Errorf("%w: --force removes it all the same", err)
		}
		return err
	}
	if c.json {
		return c.write(removal{Dir: dir, Bytes: n, DryRun: c.dryRun})
	}
	return c.printf("%s %s (%s)\n", did, dir, Size(n))
}

func prune(c *call) error {
	age, err := parseAge(c.older)
	if err != nil {
		return err
	}
	if c.keep < 0 && age == 0 {
		return c.printf("everything is kept: say what may go with --keep or --older\n")
	}
	flow := ""
	if len(c.args) > 0 {
		flow = c.args[0]
	}
	runs, err := c.runs(flow)
	if err != nil {
		return err
	}
	removed := 0
	done := map[string]int{} // completed runs seen of each flow, newest first
	for _, r := range runs {
		if r.Status != "completed" {
			continue
		}
		done[r.Flow]++
		if done[r.Flow] <= c.keep || (age > 0 && c.env.Now().Sub(r.Created) < age) {
			continue
		}
		if err := c.remove(r.Dir, false); err != nil {
			return err
		}
		removed++
	}
	if removed == 0 && !c.json {
		return c.printf("nothing to remove: %s, and only completed ones go\n", Plural(uint64(len(runs)), "run"))
	}
	return nil
}

// parseAge reads a duration that may also be in days.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, usagef("--older %s is not a duration: write it as 720h or 30d", s)
}
