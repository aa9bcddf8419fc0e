package weir_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/policy"
)

type (
	claim struct {
		ID    string `json:"id"`
		Who   string `json:"who"`
		Cents int    `json:"cents"`
	}
	holder struct {
		Who  string `json:"who"`
		City string `json:"city"`
	}
	letterTo struct {
		ID, City string
		Cents    int
	}
)

// An office is a flow of claims, what its code does, and what came of it outside.
type office struct {
	valid   func(claim) error                                                         // validate refuses
	pay     func(context.Context, effect.Call, letterTo) (string, error)              // the bank
	receipt func(letterTo, string) (string, error)                                    // of the bank's answer
	post    func(context.Context, event.Record[string]) error                         // delivery
	effect  func(*office) effect.Effect[letterTo, string]                             // what paying is
	hold    bool                                                                      // what is in doubt
	more    func(valid weir.Stream[claim], unread weir.Stream[weir.Failed[letterTo]]) // further stages

	posted memo[string]
	calls  memo[string] // key of each call
}

func (o *office) flow() *weir.Definition {
	return weir.Define("claims", func(f *weir.Flow) {
		var claims []claim
		for i := range 12 {
			claims = append(claims, claim{fmt.Sprint("c", i+1), []string{"ann", "bob", "eve"}[i%3], 100 * (i + 1)})
		}
		in := weir.From(f, "claims", weir.Slice(claims))
		people := weir.From(f, "people", weir.Slice([]holder{{"ann", "Ulm"}, {"bob", "Bonn"}, {"eve", "Kiel"}}))
		valid := weir.Map(in, "validate", func(c claim) (claim, error) {
			if o.valid != nil {
				return c, o.valid(c)
			}
			return c, nil
		})
		addressed, _ := weir.Join(weir.KeyBy(valid, func(c claim) string { return c.Who }), weir.TableOf(weir.KeyBy(people, func(h holder) string { return h.Who })), "address",
			func(c claim, h holder) (letterTo, error) {
				if h.City == "" {
					return letterTo{}, errors.New("no city")
				}
				return letterTo{c.ID, h.City, c.Cents}, nil
			})
		act := func(ctx context.Context, c effect.Call, l letterTo) (string, error) {
			o.calls.keep(l.ID + " " + c.Key)
			if o.pay != nil {
				return o.pay(ctx, c, l)
			}
			return "paid " + l.ID, nil
		}
		e := effect.KeyedByInput("pay.v1", act)
		if o.effect != nil {
			e = o.effect(o)
		}
		if o.receipt != nil {
			e = effect.Adapt(e, func(l letterTo) (letterTo, error) { return l, nil }, o.receipt)
		}
		opts := []weir.EffectOption{policy.Retry{Max: 2}}
		if o.hold {
			opts = append(opts, weir.HoldInDoubt())
		}
		paid, failed := weir.Perform(addressed, "pay", e, opts...)
		weir.Each(weir.Records(paid), "post", func(ctx context.Context, r event.Record[string]) error {
			if o.post != nil {
				if err := o.post(ctx, r); err != nil {
					return err
				}
			}
			return o.posted.add(ctx, r.Value)
		})
		if o.more != nil {
			o.more(valid, failed)
		}
	})
}

// recorded runs the flow of o in a data directory of its own.
func (o *office) recorded(t *testing.T) (data string, sum weir.Summary) {
	t.Helper()
	data = t.TempDir()
	sum, err := o.flow().Run(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("run: %+v, %v", sum, err)
	}
	return data, sum
}

// redriven redrives letters with the code of o, to the end.
func (o *office) redriven(t *testing.T, data string, l weir.Letters) weir.Summary {
	t.Helper()
	r, err := o.flow().Redrive(t.Context(), l, weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatalf("redrive: %v", err)
	}
	sum, err := r.Wait()
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("redrive: %+v, %v", sum, err)
	}
	return sum
}

func refuses(ids ...string) func(claim) error {
	return func(c claim) error {
		if slices.Contains(ids, c.ID) {
			return errors.New("not like this")
		}
		return nil
	}
}

// sorted are the texts that were posted.
func (o *office) sorted() []string { return slices.Sorted(slices.Values(o.posted.all)) }

func TestRedriveDeadLetters(t *testing.T) {
	broken := &office{valid: refuses("c2", "c5", "c9")}
	data, was := broken.recorded(t)
	before := journalsOf(t, was.Dir)
	if was.Dead != 3 || len(broken.posted.all) != 9 {
		t.Fatalf("%+v, posted %v", was, broken.posted.all)
	}
	mended := &office{valid: refuses("c9")}
	sum := mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: "validate"})
	if want := []string{"paid c2", "paid c5"}; !slices.Equal(mended.sorted(), want) || sum.Dead != 1 || sum.Out != 2 || sum.Run == was.Run {
		t.Errorf("posted %v, want %v: %+v", mended.sorted(), want, sum)
	}
	if diff := cmp.Diff(before, journalsOf(t, was.Dir)); diff != "" {
		t.Errorf("the recorded run was changed:\n%s", diff)
	}
	// Once is enough.
	if _, err := mended.flow().Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "validate.dead"}, weir.Options{Dir: data, Logger: quiet}); !errors.Is(err, weir.ErrNoLetters) || !strings.Contains(err.Error(), sum.Run) {
		t.Errorf("once more: %v", err)
	}
	// What failed again can be redriven from there, and is the same claim.
	last := &office{}
	again := last.redriven(t, data, weir.Letters{Run: sum.Run, Stage: "validate"})
	if want := []string{"paid c9"}; !slices.Equal(last.sorted(), want) || again.Dead != 0 {
		t.Errorf("posted %v, want %v: %+v", last.sorted(), want, again)
	}
	for _, dir := range []string{sum.Dir, again.Dir} {
		o := mended
		if dir == again.Dir {
			o = last
		}
		if v := verifyShop(t, o.flow(), dir, weir.VerifyOptions{Chain: true}); v.Outcome != weir.Identical {
			t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
		}
		if diff := cmp.Diff(journalsOf(t, dir), journalsOf(t, replayed(t, o.flow(), dir, weir.Options{}).Dir)); diff != "" {
			t.Errorf("the replay is not the redrive (-redrive +replay):\n%s", diff)
		}
	}
	// A redrive is no run to go on with.
	next, err := mended.flow().Run(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil || next.Epoch != 1 || next.Run == again.Run || next.In == 0 {
		t.Errorf("the next run: %+v, %v", next, err)
	}
}

// whyOf explains a record as one line for each cause, with the runs that have them.
func whyOf(t *testing.T, dir, ref string) (lines []string) {
	t.Helper()
	run, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	at, err := run.Ref(ref)
	if err != nil {
		t.Fatal(err)
	}
	x, err := run.Why(t.Context(), at, history.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var walk func(x *history.Explanation, indent string)
	walk = func(x *history.Explanation, indent string) {
		for _, c := range x.Causes {
			switch {
			case c.Ref != nil:
				lines = append(lines, strings.TrimRight(fmt.Sprintf("%s%s %s %s", indent, c.Ref, c.Run, c.Left), " "))
				if c.Input != nil {
					walk(c.Input, indent+" ")
				}
			default:
				lines = append(lines, indent+c.Kind)
			}
		}
	}
	walk(x, "")
	return lines
}

// A redrive runs one stage and what follows from it, with a source of its own, and the
// tables that this takes; the graph on record says so, and nothing of the rest is run.
func TestRedriveIsNarrow(t *testing.T) {
	more := func(valid weir.Stream[claim], _ weir.Stream[weir.Failed[letterTo]]) {
		weir.Each(valid, "count", func(context.Context, claim) error { return nil })
	}
	broken := &office{more: more, valid: refuses("c2"), pay: func(_ context.Context, _ effect.Call, l letterTo) (string, error) {
		if l.ID == "c1" {
			return "", effect.Permanent(errors.New("no"))
		}
		return "paid", nil
	}}
	data, was := broken.recorded(t)
	mended := &office{more: more}
	for stage, want := range map[string]string{
		"validate":   "redrive.out→validate validate.out→address people.out→address address.out→pay pay.out→post validate.out→count",
		"pay.failed": "redrive.out→pay pay.out→post",
	} {
		sum := mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: stage})
		run, err := history.Open(sum.Dir)
		if err != nil {
			t.Fatal(err)
		}
		var edges []string
		for e := range run.Graph().Edges() {
			edges = append(edges, e.Journal()+"→"+e.To)
		}
		want := strings.Fields(want)
		slices.Sort(edges)
		slices.Sort(want)
		if !slices.Equal(edges, want) {
			t.Errorf("%s: %v, want %v", stage, edges, want)
		}
		if report, err := run.Check(t.Context()); err != nil || len(report.Problems) > 0 {
			t.Errorf("%s: check: %v, %v", stage, report, err)
		}
		if err := run.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhyLeadsThroughARedrive(t *testing.T) {
	broken := &office{valid: refuses("c2", "c5")}
	data, was := broken.recorded(t)
	still := (&office{valid: refuses("c5")}).redriven(t, data, weir.Letters{Run: was.Run, Stage: "validate"})
	sum := (&office{}).redriven(t, data, weir.Letters{Run: still.Run, Refs: []event.Ref{{Stage: "validate", Port: "dead", Seq: 1}}})
	want := []string{
		"pay.out:1",
		" address.out:1",
		"  validate.out:1",
		"   redrive.out:1",
		"    validate.dead:1 " + still.Run,
		"     redrive.out:2",
		"      validate.dead:2 " + was.Run,
		"       claims.out:5",
		"        position",
		"  people.out:2",
		"   people.out:2 " + was.Run,
		"    position",
	}
	if diff := cmp.Diff(want, whyOf(t, sum.Dir, "post.receipts:1")); diff != "" {
		t.Errorf("why (-want +got):\n%s", diff)
	}
	// A run that was moved away is named.
	if err := os.Rename(was.Dir, t.TempDir()+"/away"); err != nil {
		t.Fatal(err)
	}
	if got := whyOf(t, still.Dir, "validate.out:1"); !slices.Equal(got, []string{
		"redrive.out:1", " validate.dead:1 " + was.Run + " that run is not beside this one", " claims.out:2 " + was.Run + " that run is not beside this one",
	}) {
		t.Errorf("why without the run that was redriven: %q", got)
	}
}

// A failed call that did not happen is made anew, with the key that it had.
func TestRedriveFailures(t *testing.T) {
	down := func(_ context.Context, _ effect.Call, l letterTo) (string, error) {
		if l.City == "Bonn" {
			return "", effect.DidNotHappen(errors.New("closed"))
		}
		return "paid " + l.ID, nil
	}
	broken := &office{pay: down}
	data, was := broken.recorded(t)
	if was.Failed != 4 || was.Dead != 4 {
		t.Fatalf("%+v", was)
	}
	mended := &office{}
	if _, err := mended.flow().Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "pay", From: 2}, weir.Options{Dir: data, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "pay has letters in pay.dead and pay.failed: say in which") {
		t.Errorf("from the second of two ports: %v", err)
	}
	sum := mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: "pay"})
	if want := []string{"paid c11", "paid c2", "paid c5", "paid c8"}; !slices.Equal(mended.sorted(), want) || sum.Dead != 0 || sum.Out != 4 {
		t.Errorf("posted %v, want %v: %+v", mended.sorted(), want, sum)
	}
	if len(mended.calls.all) != 4 {
		t.Errorf("calls %v", mended.calls.all)
	}
	for _, c := range mended.calls.all {
		if !slices.Contains(broken.calls.all, c) {
			t.Errorf("call %s has another key than in the recorded run: %v", c, broken.calls.all)
		}
	}
	if v := verifyShop(t, mended.flow(), sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
	}
	if v := verifyShop(t, mended.flow(), sum.Dir, weir.VerifyOptions{From: "pay.out:3"}); v.Outcome != weir.Identical {
		t.Errorf("verify from the middle: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
	}
	if diff := cmp.Diff(journalsOf(t, sum.Dir), journalsOf(t, replayed(t, mended.flow(), sum.Dir, weir.Options{}).Dir)); diff != "" {
		t.Errorf("the replay is not the redrive (-redrive +replay):\n%s", diff)
	}
	if got := whyOf(t, sum.Dir, "pay.out:1"); !slices.Equal(got, []string{
		"redrive.out:1", " pay.failed:1 " + was.Run, "  address.out:2", "   validate.out:2", "    claims.out:2", "     position", "   people.out:2", "    position",
	}) {
		t.Errorf("why: %q", got)
	}
}

// An action that may have happened is asked for as it was: with the same key and the
// same request, though the code would ask for something else.
func TestRedriveWhatMayHaveHappened(t *testing.T) {
	type asked struct{ key, city string }
	var calls memo[asked]
	up := false
	pay := func(_ context.Context, c effect.Call, l letterTo) (string, error) {
		calls.keep(asked{c.Key, l.City})
		if l.ID == "c1" && !up {
			return "", errors.New("connection lost")
		}
		return "paid " + l.ID, nil
	}
	for name, class := range map[string]func(string) effect.Effect[letterTo, string]{
		"keyed": func(city string) effect.Effect[letterTo, string] {
			e := effect.Keyed("pay.v1", func(l letterTo) string { return "till/" + l.ID + l.City }, pay)
			return effect.Adapt(e, func(l letterTo) (letterTo, error) { l.City = city; return l, nil }, func(_ letterTo, s string) (string, error) { return s, nil })
		},
		"keyed by input": func(city string) effect.Effect[letterTo, string] {
			e := effect.KeyedByInput("pay.v1", pay)
			return effect.Adapt(e, func(l letterTo) (letterTo, error) { l.City = city; return l, nil }, func(_ letterTo, s string) (string, error) { return s, nil })
		},
		"as it comes": func(string) effect.Effect[letterTo, string] { return effect.KeyedByInput("pay.v1", pay) },
	} {
		t.Run(name, func(t *testing.T) {
			up, calls.all = false, nil
			broken := &office{effect: func(*office) effect.Effect[letterTo, string] { return class("Bern") }}
			data, was := broken.recorded(t)
			first := calls.all[0]
			if was.Failed != 1 {
				t.Fatalf("%+v", was)
			}
			up, calls.all = true, nil
			mended := &office{effect: func(*office) effect.Effect[letterTo, string] { return class("Basel") }}
			sum := mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: "pay.failed"})
			if !slices.Equal(calls.all, []asked{first}) {
				t.Errorf("asked for %v, want %v", calls.all, first)
			}
			if !slices.Equal(mended.posted.all, []string{"paid c1"}) {
				t.Errorf("posted %v", mended.posted.all)
			}
			for _, code := range []*office{broken, mended} { // it is on record that the code asks for something else
				if v := verifyShop(t, code.flow(), sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
					t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
				}
			}
		})
	}
}

// An action that happened is not done again: its recorded result goes through the
// code that can use it now.
func TestRedriveUsesRecordedResults(t *testing.T) {
	broken := &office{receipt: func(l letterTo, s string) (string, error) {
		if l.ID == "c3" || l.ID == "c4" {
			return "", errors.New("no such form")
		}
		return s, nil
	}}
	data, was := broken.recorded(t)
	if was.Failed != 2 {
		t.Fatalf("%+v", was)
	}
	mended := &office{receipt: func(_ letterTo, s string) (string, error) { return s + " at last", nil }}
	sum := mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: "pay"})
	if want := []string{"paid c3 at last", "paid c4 at last"}; !slices.Equal(mended.sorted(), want) || len(mended.calls.all) != 0 {
		t.Errorf("posted %v after calls %v, want %v and none", mended.sorted(), mended.calls.all, want)
	}
	if v := verifyShop(t, mended.flow(), sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
	}
}

// What may have happened and must not happen twice is in doubt again.
func TestRedriveAtMostOnce(t *testing.T) {
	lost := true
	o := &office{hold: true, effect: func(o *office) effect.Effect[letterTo, string] {
		return effect.AtMostOnce("pay.v1", func(_ context.Context, c effect.Call, l letterTo) (string, error) {
			o.calls.keep(l.ID)
			if l.ID == "c1" && lost {
				return "", errors.New("connection lost")
			}
			return "paid " + l.ID, nil
		}, effect.AskAPerson[letterTo, string])
	}}
	ops := weir.Options{Dir: t.TempDir(), Logger: quiet}
	held, err := o.flow().Run(t.Context(), ops)
	if err == nil || held.InDoubt != 1 {
		t.Fatalf("%+v, %v", held, err)
	}
	decide(t, held.Dir, "failed", "")
	was, err := o.flow().Run(t.Context(), ops)
	if err != nil || was.Failed != 1 {
		t.Fatalf("%+v, %v", was, err)
	}
	lost = false
	for verdict, posted := range map[string]string{"retry": "paid c1", "done": "paid by hand"} {
		o.calls.all, o.posted.all = nil, nil
		r, err := o.flow().Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "pay", Again: true}, ops)
		if err != nil {
			t.Fatal(err)
		}
		if held, err = r.Wait(); err == nil || held.InDoubt != 1 || len(o.calls.all) != 0 {
			t.Fatalf("%+v, %v, calls %v", held, err, o.calls.all)
		}
		decide(t, held.Dir, verdict, `"paid by hand"`)
		again := ops
		again.Run = held.Run
		sum, err := o.flow().Run(t.Context(), again)
		if err != nil || sum.Status != weir.Completed || sum.Epoch != 2 || !slices.Equal(o.posted.all, []string{posted}) {
			t.Fatalf("%s: %+v, %v, posted %v", verdict, sum, err, o.posted.all)
		}
		if calls := len(o.calls.all); (calls == 1) != (verdict == "retry") {
			t.Errorf("%s: %d calls", verdict, calls)
		}
		if v := verifyShop(t, o.flow(), sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
			t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
		}
	}
}

// decide hands in a verdict about every call of a run that waits for one.
func decide(t *testing.T, dir, verdict, result string) {
	t.Helper()
	run, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	decided := 0
	for c, err := range run.Open(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if !c.Waits() {
			continue
		}
		decided++
		d := inbox.Decision{Stage: c.Stage, Input: *c.InputID, Verdict: verdict}
		if verdict == "done" {
			d.Result = []byte(result)
		}
		if _, err := inbox.Put(vfs.OS, dir, inbox.Message{At: time.Now(), By: "ann", Decision: &d}); err != nil {
			t.Fatal(err)
		}
	}
	if decided == 0 {
		t.Fatal("nothing waits for a decision")
	}
}
