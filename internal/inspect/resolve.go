package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
)

// flagsFor are the flags by which a call that waits can be decided about. That it
// is done can be said of a call only.
func flagsFor(x *history.Call) (flags []string) {
	for _, v := range plan.Verdicts(x.Parked) {
		switch {
		case v != plan.DecideDone:
			flags = append(flags, "--"+strings.ReplaceAll(v, " ", "-"))
		case x.Kind == history.KindCall:
			flags = append(flags, "--done [--result JSON]")
		}
	}
	return flags
}

// verdict is the word of the one flag that decides.
func (c *call) verdict() (string, error) {
	var chosen []string
	for _, v := range []struct {
		set  bool
		word string
	}{
		{c.done, perform.DecideDone},
		{c.notDone, perform.DecideNotDone},
		{c.retry, perform.DecideRetry},
		{c.failed, perform.DecideFailed},
		{c.goOn, perform.DecideContinue},
	} {
		if v.set {
			chosen = append(chosen, v.word)
		}
	}
	switch {
	case len(chosen) != 1:
		return "", usagef("say what is decided with one of --done, --not-done, --retry, --failed and --continue")
	case c.result != "" && !c.done:
		return "", usagef("--result goes with --done")
	case c.result != "" && !json.Valid([]byte(c.result)):
		return "", usagef("--result is not JSON: %s (text is written as '\"text\"')", c.result)
	}
	return chosen[0], nil
}

// resolve hands in a decision.
func resolve(c *call) error {
	verdict, err := c.verdict()
	if err != nil {
		return err
	}
	return c.with(func(r *history.Run) error {
		x, err := c.waiting(r)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(flagsFor(x), func(flag string) bool { return strings.HasPrefix(flag, "--"+strings.ReplaceAll(verdict, " ", "-")) }) {
			return usagef("%s of %s is %s: decide with %s", x.Input, of(x.Stage, x.Step), x.Parked, strings.Join(flagsFor(x), ", "))
		}
		d := &inbox.Decision{Stage: x.Stage, Input: *x.InputID, Step: x.Step, Verdict: verdict, Reason: c.reason}
		if c.result != "" {
			d.Result = jsontext.Value(c.result)
		}
		return c.handIn(r, inbox.Message{Decision: d}, fmt.Sprintf("%q about %s of %s", verdict, x.Input, of(x.Stage, x.Step)))
	})
}

// waiting returns the call that the second argument names, which waits for a
// decision. The error says why there is none.
func (c *call) waiting(r *history.Run) (*history.Call, error) {
	ref, err := c.ref(r)
	if err != nil {
		return nil, err
	}
	var found []history.Call // that wait
	var open *history.Call   // that does not
	for x, err := range r.Open(c.ctx) {
		if err != nil {
			return nil, err
		}
		if !names(&x, ref) || c.stage != "" && x.Stage != c.stage {
			continue
		}
		if x.Waits() {
			found = append(found, x)
		} else if open == nil || open.Ended() {
			open = &x
		}
	}
	switch {
	case len(found) > 1:
		var where []string
		for i := range found {
			where = append(where, fmt.Sprintf("%s (%s)", handle(&found[i]), of(found[i].Stage, found[i].Step)))
		}
		return nil, usagef("several calls wait for %s: say which, as %s", ref, strings.Join(where, " or "))
	case len(found) == 0:
		return nil, c.whyNot(r, ref, open)
	}
	return &found[0], c.notTwice(r, &found[0])
}

// names tells whether ref, an input or a record of an fx port, is that of x.
func names(x *history.Call, ref event.Ref) bool {
	return x.Input == ref || slices.Contains(x.Records, ref)
}

// whyNot says why nothing waits for a decision about ref. open is an open call of
// it, if there is one.
func (c *call) whyNot(r *history.Run, ref event.Ref, open *history.Call) error {
	if open != nil {
		switch open.State {
		case history.CallWaiting:
			return fmt.Errorf("%s does not wait for a decision: %s waits %s", ref, of(open.Stage, open.Step), what(open))
		case history.CallOpen:
			if n := len(open.Decisions); n > 0 {
				return fmt.Errorf("%s has been decided: %s; %s acts on it", ref, decided(&open.Decisions[n-1]), open.Stage)
			}
			return fmt.Errorf("%s does not wait for a decision: %s is at it (in doubt is only what nobody can find out; continue the run, and look again)", ref, of(open.Stage, open.Step))
		}
		return fmt.Errorf("%s does not wait for a decision: %s has accepted it and goes on by itself", ref, open.Stage)
	}
	var last *history.Call
	for x, err := range r.Calls(c.ctx, "") {
		if err != nil {
			return err
		}
		if names(&x, ref) && (c.stage == "" || x.Stage == c.stage) {
			last = &x
			break
		}
	}
	if last == nil {
		if _, err := r.Why(c.ctx, ref, history.Limits{Records: 1, Depth: 1}); err != nil {
			return err // there is no such record
		}
		return fmt.Errorf("%s does not wait for a decision: no stage has called anything for it; %s effects %s lists what waits", ref, c.env.Program, c.args[0])
	}
	is := fmt.Sprintf("%s of %s is %s", ref, of(last.Stage, last.Step), last.State)
	if n := len(last.Decisions); n > 0 {
		is += ": " + decided(&last.Decisions[n-1])
	}
	return fmt.Errorf("%s does not wait for a decision: %s; %s effects %s lists what waits", ref, is, c.env.Program, c.args[0])
}

// notTwice refuses a decision about a call for which there is one already.
func (c *call) notTwice(r *history.Run, x *history.Call) error {
	all, err := c.handedIn(r)
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.Stage == x.Stage && h.Input == x.InputID.String() {
			return fmt.Errorf("a decision about %s of %s is handed in already and not taken yet: %q by %s, %s; remove %s to take it back",
				x.Input, of(x.Stage, x.Step), h.Verdict, someone(h.By), stamp(h.At), h.File)
		}
	}
	return nil
}

// signal hands in a signal.
func signal(c *call) error {
	s := &inbox.Signal{Name: c.args[1], Key: c.args[2]}
	if len(c.args) > 3 {
		if !json.Valid([]byte(c.args[3])) {
			return usagef("what the signal says is not JSON: %s (text is written as '\"text\"')", c.args[3])
		}
		s.Payload = jsontext.Value(c.args[3])
	}
	return c.with(func(r *history.Run) error {
		return c.handIn(r, inbox.Message{Signal: s}, strings.TrimSpace("signal "+line(s.Name)+" "+line(s.Key)))
	})
}

// handIn puts m into the inbox of r, and says what becomes of it.
func (c *call) handIn(r *history.Run, m inbox.Message, about string) error {
	if c.env.Now == nil {
		return errors.New("there is no clock")
	}
	s, err := r.Status()
	if err != nil {
		return err
	}
	if s.Finished() {
		return fmt.Errorf("run %s is completed: nothing waits in it, and nobody would take %s", r.Manifest().Run, about)
	}
	m.At, m.By = c.env.Now().UTC(), firstOf(c.by, c.env.Getenv("USER"))
	id, err := inbox.Put(vfs.OS, r.Dir(), m)
	if err != nil {
		return err
	}
	if c.json {
		return c.write(struct {
			ID    string `json:"id"`
			Run   string `json:"run"`
			Owner string `json:"owner,omitempty"` // who takes it; nobody until the run is continued
		}{id, r.Manifest().Run, s.Owner})
	}
	if err := c.printf("handed in: %s (%s)\n", about, id); err != nil {
		return err
	}
	if s.Owner == "" {
		return c.printf("the run is %s and nobody has it: it is taken when the run is continued\n", s.Name)
	}
	return c.printf("%s has the run and takes it now; %s effects %s shows what came of it\n", s.Owner, c.env.Program, c.args[0])
}
