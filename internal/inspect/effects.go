package inspect

import (
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/vfs"
)

// effects shows what acts on the world.
func effects(c *call) error {
	if c.limit < 0 {
		return usagef("--limit is a number of calls")
	}
	return c.with(func(r *history.Run) error {
		if c.stage != "" {
			if _, err := r.Journal(c.stage + ".fx"); err != nil {
				return err
			}
		}
		handed, err := c.handedIn(r)
		if err != nil {
			return err
		}
		refused, err := r.Refused(c.ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.effectsJSON(r, handed, refused)
		}
		return c.effectsText(r, handed, refused)
	})
}

// calls yields what is asked for: with --all everything, else what is not over.
func (c *call) calls(r *history.Run) iter.Seq2[history.Call, error] {
	return func(yield func(history.Call, error) bool) {
		from := r.Open(c.ctx)
		if c.all {
			from = r.Calls(c.ctx, c.stage)
		}
		shown := 0
		for x, err := range from {
			if err == nil && (c.stage != "" && x.Stage != c.stage || !c.all && x.Ended()) {
				continue
			}
			shown++
			if !yield(x, err) || shown == c.limit {
				return
			}
		}
	}
}

// handed is a message that nobody has taken yet.
type handed struct {
	Kind    string    `json:"kind"` // "handed in"
	ID      string    `json:"id"`
	Stage   string    `json:"stage,omitempty"`
	Input   string    `json:"input,omitempty"`
	Step    string    `json:"step,omitempty"`
	Verdict string    `json:"verdict,omitempty"`
	Signal  string    `json:"signal,omitempty"`
	Key     string    `json:"key,omitempty"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"`
	File    string    `json:"file"`
}

// handedIn returns what is in the inbox of a run, and says what is no message.
func (c *call) handedIn(r *history.Run) ([]handed, error) {
	if r.Dir() == "" {
		return nil, nil
	}
	box := inbox.At(vfs.OS, r.Dir())
	seen := map[string]bool{}
	var out []handed
	for more := true; more; {
		var messages []inbox.Message
		var strays []inbox.Stray
		var err error
		if messages, strays, more, err = box.Scan(func(name string) bool { return seen[name] }); err != nil {
			return nil, err
		}
		for _, m := range messages {
			seen[m.ID] = true
			h := handed{Kind: "handed in", ID: m.ID, By: m.By, At: m.At, File: box.File(m.ID)}
			if d := m.Decision; d != nil {
				h.Stage, h.Input, h.Step, h.Verdict = d.Stage, d.Input.String(), d.Step, d.Verdict
			} else {
				h.Signal, h.Key = m.Signal.Name, m.Signal.Key
			}
			out = append(out, h)
		}
		if more {
			continue
		}
		for _, s := range strays {
			fmt.Fprintf(c.env.Stderr, "%s is not a message, and nobody takes it: %v\n", s.File, s.Err)
		}
	}
	return out, nil
}

// about says what a message is about, for people.
func about(stage, input, step, verdict, signal, key string) string {
	if signal != "" {
		return strings.TrimSpace("signal " + line(signal) + " " + line(key))
	}
	ref, _, _ := strings.Cut(input, "@")
	return fmt.Sprintf("%q about %s of %s", verdict, ref, of(stage, step))
}

func of(stage, step string) string {
	if step != "" {
		return stage + "/" + line(step)
	}
	return stage
}

// effectsJSON writes a line for each call, message and refusal.
func (c *call) effectsJSON(r *history.Run, handed []handed, refused []history.Refused) error {
	enc := json.NewEncoder(c.env.Stdout)
	enc.SetEscapeHTML(false)
	for x, err := range c.calls(r) {
		if err != nil {
			return err
		}
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	for _, h := range handed {
		if err := enc.Encode(h); err != nil {
			return err
		}
	}
	for _, no := range refused {
		if err := enc.Encode(struct {
			Kind string `json:"kind"`
			history.Refused
		}{"refused", no}); err != nil {
			return err
		}
	}
	return nil
}

// rowsAtOnce is after how many calls a table is written and another begun.
const rowsAtOnce = 500

func (c *call) effectsText(r *history.Run, handed []handed, refused []history.Refused) error {
	head := []string{"STAGE", "INPUT", "EFFECT", "STATE", "ATTEMPTS", "LAST (UTC)", "WHAT"}
	t := &table{head: head}
	counts := map[string]uint64{}
	var waits []history.Call
	same := map[event.Ref]int{} // how many wait for one input
	for x, err := range c.calls(r) {
		if err != nil {
			return err
		}
		counts[x.State]++
		if x.State == history.CallAccepted {
			continue // it is nothing yet but a place in a queue
		}
		if x.Waits() {
			if same[x.Input]++; len(waits) < 3 {
				waits = append(waits, x)
			}
		}
		attempts := ""
		if x.Attempts > 0 {
			attempts = strconv.Itoa(x.Attempts)
		}
		t.row(of(x.Stage, x.Step), x.Input.String(), named(&x), x.State, attempts, stamp(x.Last), line(what(&x)))
		if len(t.rows) == rowsAtOnce {
			t.write(c.env.Stdout, c.env.Width)
			t = &table{head: head}
		}
	}
	if len(t.rows) > 0 {
		t.write(c.env.Stdout, c.env.Width)
	}
	if n := counts[history.CallAccepted]; n > 0 {
		if err := c.printf("%s accepted and not begun\n", Plural(n, "input")); err != nil {
			return err
		}
	}
	if len(counts) == 0 {
		nothing := "nothing is open"
		if c.all {
			nothing = "nothing acted on the world"
		}
		if err := c.println(nothing); err != nil {
			return err
		}
	}
	for _, h := range handed {
		if err := c.printf("handed in and not taken yet: %s, %s by %s\n", about(h.Stage, h.Input, h.Step, h.Verdict, h.Signal, h.Key), stamp(h.At), someone(h.By)); err != nil {
			return err
		}
	}
	for _, no := range refused {
		if err := c.printf("refused: %s, %s by %s: %s\n", about(no.Stage, no.Input, no.Step, no.Verdict, no.Signal, no.Key), stamp(no.At), someone(no.By), line(no.Reason)); err != nil {
			return err
		}
	}
	return c.resolveHints(waits, same)
}

// resolveHints says how to decide.
func (c *call) resolveHints(waits []history.Call, same map[event.Ref]int) error {
	if len(waits) == 0 {
		return nil
	}
	if err := c.printf("\n"); err != nil {
		return err
	}
	for i := range waits {
		x := &waits[i]
		options := strings.Join(flagsFor(x), " | ")
		ref := x.Input.String()
		if same[x.Input] > 1 {
			ref = handle(x)
		}
		if err := c.printf("  %s effects resolve %s %s %s\n", c.env.Program, c.args[0], ref, options); err != nil {
			return err
		}
	}
	return nil
}

// handle is the ref by which a call can be resolved: its newest record, which no
// other stage has.
func handle(x *history.Call) string {
	if n := len(x.Records); n > 0 {
		return x.Records[n-1].String()
	}
	return x.Input.String()
}

func someone(by string) string { return firstOf(line(by), "somebody") }

// named is what a call calls: the effect, or what a step is.
func named(x *history.Call) string {
	switch {
	case x.Effect != "":
		return strings.TrimSpace(x.Effect + " " + x.Version)
	case x.Kind == history.KindCall:
		return ""
	}
	return "(" + x.Kind + ")"
}

// what says what is to be known about a call, after its state.
func what(x *history.Call) string {
	var parts []string
	add := func(s string) { parts = append(parts, s) }
	switch {
	case x.State == history.CallWaiting:
		s := "for time to pass"
		if x.Signal != "" {
			s = strings.TrimSpace("for " + x.Signal + " " + x.Key)
		}
		if !x.Until.IsZero() {
			s += " until " + stamp(x.Until)
		}
		add(s)
	case x.Reason != "":
		add(x.Reason)
	case x.Result != nil:
		add(string(x.Result))
	}
	if x.Kind == history.KindCall && x.Key != "" {
		add("key " + x.Key)
	}
	for _, d := range x.Decisions {
		add(decided(&d))
	}
	for _, d := range x.Drifts {
		add("drift: " + d)
	}
	return strings.Join(parts, " · ")
}

// decided is a decision in words.
func decided(d *history.Decision) string {
	s := fmt.Sprintf("%s said %q", someone(d.By), d.Verdict)
	if d.Reason != "" {
		s += " (" + line(d.Reason) + ")"
	}
	return s
}
