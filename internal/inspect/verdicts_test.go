package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/inspect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// A word is a payload of which the code may forget how to read it.
type word string

var forgotten atomic.Value // the word that cannot be read

func (w *word) UnmarshalText(text []byte) error {
	if v, _ := forgotten.Load().(string); v != "" && string(text) == v {
		return errors.New("nobody can read this any more")
	}
	*w = word(text)
	return nil
}

func (w word) MarshalText() ([]byte, error) { return []byte(w), nil }

// A bank is an outside world for one run.
type bank struct {
	mu    sync.Mutex
	calls map[string]int // by effect and word
	out   []string
	fatal atomic.Bool // the process dies of what it does
	dead  atomic.Bool
}

func (b *bank) call(name string, w word) (word, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[name+" "+string(w)]++
	if w == "lost" && name == "charge" && b.calls[name+" "+string(w)] == 1 {
		return "", errors.New("connection lost")
	}
	return word(name + " of " + string(w)), nil
}

func (b *bank) effect(name string) effect.Effect[word, word] {
	return effect.AtMostOnce(name, func(_ context.Context, _ effect.Call, w word) (word, error) { return b.call(name, w) }, effect.AskAPerson[word, word])
}

func (b *bank) came(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out = append(b.out, s)
}

// dies ends the process, if it is to.
func (b *bank) dies() {
	if b.fatal.Load() {
		b.dead.Store(true)
	}
}

// steps is a flow of a function that pays for a word, in one step or in none, and
// of which the process may die then.
func steps(pay string, dies bool) func(*bank, word) *weir.Definition {
	return func(b *bank, in word) *weir.Definition {
		effects := map[string]effect.Effect[word, word]{"charge": b.effect("charge"), "refund": b.effect("refund")}
		act := func(s *weir.Steps, w word, emit weir.Emit[word]) error {
			b.dies()
			if _, err := weir.Capture(s, "opened", func() (word, error) { return w + " is open", nil }); err != nil {
				return err
			}
			weir.Compensate(s, "undo", effects["refund"], w)
			got := word("nothing")
			if pay != "" {
				var err error
				if got, err = weir.Do(s, "pay", effects[pay], w); err != nil {
					return err
				}
			}
			if dies {
				b.dead.Store(true)
				return sink(weir.Capture(s, "never", func() (int, error) { return 1, nil }))
			}
			emit(got)
			return nil
		}
		return weir.Define("tells", func(f *weir.Flow) {
			b.ends(weir.Orchestrate(weir.From(f, "in", weir.Slice([]word{in})), "act", act, weir.Using(effects["charge"]), weir.Using(effects["refund"])))
		})
	}
}

func sink[T any](_ T, err error) error { return err }

// looks is a flow that performs an effect, of which nothing is on record before.
func looks(b *bank, in word) *weir.Definition {
	look := effect.Idempotent("look", func(_ context.Context, w word) (word, error) {
		b.dies()
		return b.call("look", w)
	})
	return weir.Define("tells", func(f *weir.Flow) {
		b.ends(weir.Perform(weir.From(f, "in", weir.Slice([]word{in})), "act", look))
	})
}

func (b *bank) ends(done weir.Stream[word], failed weir.Stream[weir.Failed[word]]) {
	weir.Each(done, "done", func(_ context.Context, w word) error { b.came(string(w)); return nil })
	weir.Each(failed, "failed", func(_ context.Context, f weir.Failed[word]) error {
		b.came(fmt.Sprintf("%s failed, happened %q", f.Input, f.Happened))
		return nil
	})
}

// waiting hears when a run waits for decisions.
type waiting struct {
	slog.Handler
	heard chan struct{}
}

func (w waiting) Enabled(context.Context, slog.Level) bool { return true }

func (w waiting) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "waiting for decisions" {
		w.heard <- struct{}{}
	}
	return nil
}

// run runs a flow until it ends, dies, or waits for decisions. Then meanwhile is
// called, and the run goes on until it waits again; if that is nil, it is stopped.
func (b *bank) run(t *testing.T, dir string, def *weir.Definition, meanwhile func()) weir.Summary {
	t.Helper()
	b.dead.Store(false)
	heard := make(chan struct{}, 10)
	o := weir.Options{Dir: dir, Sync: journal.Sync{Mode: journal.Always}, Logger: slog.New(waiting{slog.DiscardHandler, heard})}
	o.Harness = &plan.Harness{FS: vfs.NewFaults(vfs.OS, func(vfs.Op) vfs.Fault { return vfs.Fault{Stop: b.dead.Load()} })}
	r, err := def.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for waits := true; waits; {
		select {
		case <-heard:
			if waits = meanwhile != nil; waits {
				meanwhile()
				meanwhile = nil
			}
		case <-r.Done():
			waits = false
		}
	}
	select {
	case <-r.Done():
	default:
		if err := r.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	sum, _ := r.Wait()
	return sum
}

// resolve is what a person types in another process.
func resolve(t *testing.T, dir string, args ...string) (code int, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = inspect.Run(t.Context(), append([]string{"effects", "resolve", "tells", "in:1"}, args...), inspect.Env{
		Stdout: &stdout, Stderr: &stderr, Dir: dir, Data: dir, Now: time.Now,
	})
	return code, stdout.String() + stderr.String()
}

// Every reason for which an input is put aside can be decided about from another
// process, while the run goes on and while nobody has it; what cannot be decided
// about it is refused with words, and changes nothing.
func TestEveryVerdict(t *testing.T) {
	charge, dies, refund, none := steps("charge", false), steps("charge", true), steps("refund", false), steps("", false)
	byHand := []string{"--done", "--result", `"by hand"`}
	for _, c := range []struct {
		name    string
		in      word
		first   func(*bank, word) *weir.Definition // until it is put aside, or dies if there is other code then
		then    func(*bank, word) *weir.Definition
		forget  string // how to read it
		fatal   bool
		verdict []string
		mend    bool     // the code, before it is decided
		want    []string // nil: it cannot be decided
		calls   string
	}{
		{name: "in doubt", in: "lost", first: charge, verdict: byHand, want: []string{"by hand"}, calls: "charge lost 1"},
		{name: "in doubt", in: "lost", first: charge, verdict: []string{"--not-done"}, want: []string{"charge of lost"}, calls: "charge lost 2"},
		{name: "in doubt", in: "lost", first: charge, verdict: []string{"--retry"}, want: []string{"charge of lost"}, calls: "charge lost 2"},
		{name: "in doubt", in: "lost", first: charge, verdict: []string{"--failed"}, want: []string{`lost failed, happened "unknown"`}, calls: "charge lost 1, refund lost 1"},
		{name: "in doubt", in: "lost", first: charge, verdict: []string{"--continue"}, calls: "charge lost 1"},

		{name: "another effect", in: "a", first: dies, then: refund, verdict: []string{"--continue"}, want: []string{"refund of a"}, calls: "charge a 1, refund a 1"},
		{name: "another effect", in: "a", first: dies, then: refund, verdict: byHand, want: []string{"by hand"}, calls: "charge a 1"},
		{name: "another effect", in: "a", first: dies, then: refund, verdict: []string{"--failed"}, want: []string{`a failed, happened ""`}, calls: "charge a 1, refund a 1"},
		{name: "another effect", in: "a", first: dies, then: refund, verdict: []string{"--not-done"}, calls: "charge a 1"},

		{name: "passed by", in: "a", first: dies, then: none, verdict: []string{"--continue"}, want: []string{"nothing"}, calls: "charge a 1"},
		{name: "passed by", in: "a", first: dies, then: none, verdict: []string{"--failed"}, want: []string{`a failed, happened ""`}, calls: "charge a 1, refund a 1"},
		{name: "passed by", in: "a", first: dies, then: none, verdict: []string{"--done"}, calls: "charge a 1"},

		{name: "unreadable payload", in: "a", first: dies, then: charge, forget: "a", verdict: []string{"--failed"}, want: []string{` failed, happened ""`}, calls: "charge a 1"},
		{name: "unreadable payload", in: "a", first: charge, fatal: true, forget: "a", verdict: []string{"--retry"}, mend: true, want: []string{"charge of a"}, calls: "charge a 1"},
		{name: "unreadable payload", in: "a", first: dies, then: charge, forget: "a", verdict: []string{"--done"}, calls: "charge a 1"},
		{name: "unreadable capture", in: "a", first: dies, then: charge, forget: "a is open", verdict: []string{"--failed"}, want: []string{`a failed, happened ""`}, calls: "charge a 1"},
		{name: "unreadable capture", in: "a", first: dies, then: charge, forget: "a is open", verdict: []string{"--done"}, calls: "charge a 1"},
		{name: "unreadable result", in: "a", first: dies, then: none, forget: "charge of a", verdict: []string{"--failed"}, want: []string{`a failed, happened ""`}, calls: "charge a 1, refund a 1"},
		{name: "unreadable result", in: "a", first: dies, then: charge, forget: "charge of a", verdict: []string{"--failed"}, want: []string{`a failed, happened "yes"`}, calls: "charge a 1, refund a 1"},
		{name: "unreadable result", in: "a", first: dies, then: charge, forget: "charge of a", verdict: []string{"--continue"}, calls: "charge a 1"},

		{name: "crash of a function", in: "a", first: charge, fatal: true, verdict: []string{"--failed"}, want: []string{`a failed, happened ""`}},
		{name: "crash of a function", in: "a", first: charge, fatal: true, verdict: []string{"--retry"}, mend: true, want: []string{"charge of a"}, calls: "charge a 1"},
		{name: "crash of a function", in: "a", first: charge, fatal: true, verdict: []string{"--done"}},
		{name: "crash of a call", in: "a", first: looks, fatal: true, verdict: []string{"--failed"}, want: []string{`a failed, happened "unknown"`}, calls: "look a "},
		{name: "crash of a call", in: "a", first: looks, fatal: true, verdict: byHand, want: []string{"by hand"}, calls: "look a "},
		{name: "crash of a call", in: "a", first: looks, fatal: true, verdict: []string{"--retry"}, mend: true, want: []string{"look of a"}, calls: "look a "},
		{name: "crash of a call", in: "a", first: looks, fatal: true, verdict: []string{"--continue"}, calls: "look a "},
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, c.verdict, running), func(t *testing.T) {
				b, dir := &bank{calls: map[string]int{}}, t.TempDir()
				forgotten.Store("")
				defer forgotten.Store("")
				b.fatal.Store(c.fatal)
				def := c.first(b, c.in)
				if c.then != nil {
					b.run(t, dir, def, nil)
					def = c.then(b, c.in)
				}
				if !c.fatal {
					forgotten.Store(c.forget)
				}
				decide := func() {
					if c.mend {
						b.fatal.Store(false)
						forgotten.Store("")
					}
					code, said := resolve(t, dir, c.verdict...)
					if (code == inspect.OK) != (c.want != nil) || code != inspect.OK && !strings.Contains(said, "decide with --") {
						t.Errorf("exit %d: %s", code, said)
					}
				}
				meanwhile := decide
				if !running || c.want == nil {
					meanwhile = nil
				}
				var sum weir.Summary
				for range 12 {
					if sum = b.run(t, dir, def, meanwhile); sum.Status != weir.Interrupted {
						break
					}
				}
				if meanwhile == nil {
					if sum.Status != weir.Stopped || sum.InDoubt != 1 {
						t.Errorf("before it is decided: %+v", sum)
					}
					decide()
					sum = b.run(t, dir, def, nil)
				}
				if (sum.Status == weir.Completed) != (c.want != nil) {
					t.Errorf("%+v", sum)
				}
				var calls []string
				for call, n := range b.calls {
					calls = append(calls, fmt.Sprint(call, " ", n))
				}
				slices.Sort(calls)
				if got := strings.Join(calls, ", "); got != c.calls && (c.calls != "look a " || !strings.HasPrefix(got, c.calls)) { // it dies some times
					t.Errorf("calls %q, want %q", got, c.calls)
				}
				if !slices.Equal(b.out, c.want) {
					t.Errorf("came out: %q, want %q", b.out, c.want)
				}
			})
		}
	}
}
