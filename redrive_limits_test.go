package weir_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
)

// redriveOf redrives letters with def, to the end.
func redriveOf(t *testing.T, def *weir.Definition, data string, l weir.Letters) weir.Summary {
	t.Helper()
	r, err := def.Redrive(t.Context(), l, weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatalf("redrive: %v", err)
	}
	sum, err := r.Wait()
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("redrive: %+v, %v", sum, err)
	}
	if v := verifyShop(t, def, sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify of the redrive: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
	}
	return sum
}

func runOf(t *testing.T, def *weir.Definition, data string) weir.Summary {
	t.Helper()
	sum, err := def.Run(t.Context(), weir.Options{Dir: data, Logger: quiet, Continue: weir.StartNew})
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("run: %+v, %v", sum, err)
	}
	return sum
}

// Names that say nothing, or not enough, are refused, and nothing is made.
func TestRedriveRefuses(t *testing.T) {
	o := &office{valid: refuses("c1", "c2", "c3"), more: func(_ weir.Stream[claim], failed weir.Stream[weir.Failed[letterTo]]) {
		weir.Each(failed, "review", func(context.Context, weir.Failed[letterTo]) error { return nil })
	}, pay: func(_ context.Context, _ effect.Call, l letterTo) (string, error) { // which others look at
		if l.ID == "c5" {
			return "", effect.Permanent(errors.New("closed"))
		}
		return "paid " + l.ID, nil
	}}
	data, was := o.recorded(t)
	replay := replayed(t, o.flow(), was.Dir, weir.Options{Dir: data})
	ref := func(stage, port string, seq uint64) event.Ref { return event.Ref{Stage: stage, Port: port, Seq: seq} }
	gone := weir.Define("claims", func(f *weir.Flow) {
		weir.Each(weir.From(f, "claims", weir.Slice([]claim{})), "valide", func(context.Context, claim) error { return nil })
	})
	other := weir.Define("claims", func(f *weir.Flow) {
		weir.Each(weir.From(f, "claims", weir.Slice([]int{})), "validate", func(context.Context, int) error { return nil })
	})
	packed := weir.Define("claims", func(f *weir.Flow) {
		f.Codec(event.CBOR)
		weir.Each(weir.From(f, "claims", weir.Slice([]claim{})), "validate", func(context.Context, claim) error { return nil })
	})
	for name, tc := range map[string]struct {
		def  *weir.Definition
		l    weir.Letters
		is   error
		says string
	}{
		"no run":               {l: weir.Letters{Stage: "validate"}, says: "set Options.Dir and Letters.Run"},
		"another run":          {l: weir.Letters{Run: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Stage: "validate"}, is: weir.ErrNoRun},
		"a replay":             {l: weir.Letters{Run: replay.Run, Stage: "validate"}, is: weir.ErrNoRun, says: "redrive that run"},
		"no such stage":        {l: weir.Letters{Run: was.Run, Stage: "validat"}, is: weir.ErrNoRecord, says: "did you mean validate?"},
		"no such port":         {l: weir.Letters{Run: was.Run, Stage: "validate.out"}, is: weir.ErrNoRecord, says: "that is in validate.dead"},
		"no failures":          {l: weir.Letters{Run: was.Run, Stage: "validate.failed"}, is: weir.ErrNoRecord},
		"no such letter":       {l: weir.Letters{Run: was.Run, Refs: []event.Ref{ref("validate", "dead", 4)}}, is: weir.ErrNoRecord, says: "no validate.dead:4"},
		"no letter":            {l: weir.Letters{Run: was.Run, Refs: []event.Ref{ref("validate", "out", 1)}}, is: weir.ErrNoRecord},
		"two stages":           {l: weir.Letters{Run: was.Run, Refs: []event.Ref{ref("validate", "dead", 1), ref("pay", "dead", 1)}}, says: "of one stage"},
		"a stage and letters":  {l: weir.Letters{Run: was.Run, Stage: "validate", Refs: []event.Ref{ref("validate", "dead", 1)}}, says: "Letters.Refs alone"},
		"nothing there":        {l: weir.Letters{Run: was.Run, Stage: "pay"}, is: weir.ErrNoLetters, says: "nothing in pay.dead"},
		"beyond":               {l: weir.Letters{Run: was.Run, Stage: "validate", From: 4}, is: weir.ErrNoLetters},
		"a stage that is gone": {def: gone, l: weir.Letters{Run: was.Run, Stage: "validate"}, says: "there is no stage validate in the code: there is valide"},
		"another payload":      {def: other, l: weir.Letters{Run: was.Run, Stage: "validate"}, is: weir.ErrNoLetters, says: "cannot read its input"},
		"another codec":        {def: packed, l: weir.Letters{Run: was.Run, Stage: "validate"}, says: "recorded in json, this flow in cbor"},
	} {
		def := tc.def
		if def == nil {
			def = o.flow()
		}
		_, err := def.Redrive(t.Context(), tc.l, weir.Options{Dir: data, Logger: quiet})
		if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %v and %q", name, err, tc.is, tc.says)
		}
	}
	if runs, err := history.List(data); err != nil || len(runs) != 2 {
		t.Errorf("runs %v, %v, want the recorded one and its replay", runs, err)
	}
	// Some of them, by number and by name.
	mended := &office{}
	sum := mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: "validate", From: 2, To: 2})
	if !slices.Equal(mended.posted.all, []string{"paid c2"}) {
		t.Errorf("%+v, posted %v", sum, mended.posted.all)
	}
	_, err := o.flow().Redrive(t.Context(), weir.Letters{Run: was.Run, Refs: []event.Ref{ref("validate", "dead", 2)}}, weir.Options{Dir: data, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "was redriven by run "+sum.Run) {
		t.Errorf("a letter by name that is taken: %v", err)
	}
	mended.posted.all = nil
	mended.redriven(t, data, weir.Letters{Run: was.Run, Refs: []event.Ref{ref("validate", "dead", 3), ref("validate", "dead", 1), ref("validate", "dead", 3)}})
	if !slices.Equal(mended.posted.all, []string{"paid c1", "paid c3"}) {
		t.Errorf("posted %v", mended.posted.all)
	}
	mended.posted.all = nil
	mended.redriven(t, data, weir.Letters{Run: was.Run, Stage: "validate", Again: true})
	if !slices.Equal(mended.posted.all, []string{"paid c1", "paid c2", "paid c3"}) {
		t.Errorf("posted %v", mended.posted.all)
	}
}

// Totals would be told as if nothing had come before; that is refused unless it is
// asked for.
func TestRedriveFreshState(t *testing.T) {
	var said memo[int]
	broken := true
	def := weir.Define("sums", func(f *weir.Flow) {
		ns := weir.Map(weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4})), "check", func(n int) (int, error) {
			if broken && n%2 == 0 {
				return n, errors.New("even")
			}
			return n, nil
		})
		weir.Each(weir.Reduce(weir.All(ns), "sum", weir.Zero, func(s *int, n int) error {
			*s += n
			return nil
		}), "say", said.add)
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	broken = false
	_, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "check"}, weir.Options{Dir: data, Logger: quiet})
	if !errors.Is(err, weir.ErrFreshState) || !strings.Contains(err.Error(), "sum") {
		t.Fatalf("%v", err)
	}
	redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "check", FreshState: true})
	if !slices.Equal(said.all, []int{4, 6}) {
		t.Errorf("said %v", said.all)
	}
}

// Tables are as the recorded run had them; without all of it there is none, and a row
// of one is not redriven.
func TestRedriveTables(t *testing.T) {
	type row struct {
		Key  int
		Name string
	}
	var said memo[string]
	var sawCity string
	broken, rows := true, []row{{1, "one"}, {2, "two"}, {3, "bad"}}
	def := weir.Define("tables", func(f *weir.Flow) {
		ns := weir.From(f, "in", weir.Slice([]int{1, 2, 3}))
		names := weir.Map(weir.From(f, "rows", weir.Slice(rows)), "clean", func(r row) (row, error) {
			if broken && r.Name == "bad" {
				return r, errors.New("bad")
			}
			return r, nil
		})
		joined, none := weir.Join(weir.KeyBy(ns, func(n int) int { return n }), weir.TableOf(weir.KeyBy(names, func(r row) int {
			if broken && r.Key == 2 {
				panic("two")
			}
			return r.Key
		})), "name", func(n int, r row) (string, error) {
			sawCity = r.Name
			if broken && n == 1 {
				return "", errors.New("one")
			}
			return r.Name, nil
		}, weir.OnError{Panic: weir.DeadLetter})
		weir.Each(joined, "say", said.add)
		weir.Each(none, "none", func(context.Context, int) error { return nil })
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	if was.Dead != 3 {
		t.Fatalf("%+v", was)
	}
	broken, rows = false, nil // the world has no rows any more
	for stage, says := range map[string]string{"clean": "stage name makes a table of what follows from clean", "rows": "stage name makes a table of what follows from rows"} {
		if _, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: stage}, weir.Options{Dir: data, Logger: quiet}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("a row at %s: %v", stage, err)
		}
	}
	dead := payloadsOf(t, was.Dir, "name.dead")
	at := uint64(1 + slices.IndexFunc(dead, func(s string) bool { return strings.Contains(s, "clean.out") }))
	_, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Refs: []event.Ref{{Stage: "name", Port: "dead", Seq: at}}}, weir.Options{Dir: data, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "it is a row of a table") {
		t.Errorf("a row of a table, of %q: %v", dead, err)
	}
	redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "name"})
	if !slices.Equal(said.all, []string{"one"}) || sawCity != "one" {
		t.Errorf("said %v", said.all)
	}
}

// Dead letters as a table are not what they were: mended code gives up other inputs.
func TestRedriveTablesOfDeadLetters(t *testing.T) {
	broken := true
	def := weir.Define("tables", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice([]int{1, 2}))
		weir.Each(weir.Filter(in, "check", func(n int) (bool, error) { return true, errors.New("no") }), "say", func(context.Context, int) error { return nil })
		bad := weir.TableOf(weir.KeyBy(weir.DeadLetters(in, "check"), func(l weir.Failed[int]) int { return l.Input }))
		joined, _ := weir.Join(weir.KeyBy(weir.From(f, "more", weir.Slice([]int{1})), func(n int) int { return n }), bad, "name", func(n int, l weir.Failed[int]) (string, error) {
			if broken {
				return "", errors.New("no")
			}
			return l.Reason, nil
		})
		weir.Each(joined, "tell", func(context.Context, string) error { return nil })
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	broken = false
	_, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "name"}, weir.Options{Dir: data, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "stage name makes a table of the dead letters of check") {
		t.Errorf("%v", err)
	}
}

// A table that the recorded run has only in part is none.
func TestRedriveTableInPart(t *testing.T) {
	block := make(chan struct{})
	rows := weir.SourceFunc[int](func(ctx context.Context, _ weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			if yield(weir.Batch[int]{Values: []int{1}, Position: "1"}, nil) {
				close(block)
				<-ctx.Done()
				yield(weir.Batch[int]{}, ctx.Err())
			}
		}
	})
	id := func(n int) int { return n }
	def := weir.Define("parts", func(f *weir.Flow) {
		ns := weir.Map(weir.From(f, "in", weir.Slice([]int{1, 2})), "check", func(n int) (int, error) { return n, errors.New("no") })
		joined, _ := weir.Join(weir.KeyBy(ns, id), weir.TableOf(weir.KeyBy(weir.From[int](f, "rows", ending{rows}), id)), "join", func(a, b int) (int, error) { return a + b, nil })
		weir.Each(joined, "say", func(context.Context, int) error { return nil })
	})
	data := t.TempDir()
	r, err := def.Start(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	<-block
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = def.Redrive(t.Context(), weir.Letters{Run: r.ID(), Stage: "check"}, weir.Options{Dir: data, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "a table is made of rows.out") || !strings.Contains(err.Error(), "go on with that run first") {
		t.Errorf("%v", err)
	}
}

type ending struct{ weir.SourceFunc[int] }

func (ending) Bounded() bool { return true }

// An orchestration of which a step happened is not run again; one that came to nothing
// is.
func TestRedriveOrchestrations(t *testing.T) {
	var done memo[int]
	broken := true
	act := func(name string) effect.Effect[int, int] {
		return effect.KeyedByInput(name, func(_ context.Context, _ effect.Call, n int) (int, error) {
			if broken && (name == "first" && n == 2 || name == "second" && n == 3) {
				return 0, effect.Permanent(errors.New("no"))
			}
			return n, nil
		})
	}
	first, second := act("first"), act("second")
	def := weir.Define("steps", func(f *weir.Flow) {
		out, _ := weir.Orchestrate(weir.From(f, "in", weir.Slice([]int{1, 2, 3})), "go", func(s *weir.Steps, n int, emit weir.Emit[int]) error {
			if _, err := weir.Do(s, "a", first, n); err != nil {
				return err
			}
			if _, err := weir.Do(s, "b", second, n); err != nil {
				return err
			}
			emit(n)
			return nil
		}, weir.Using(first), weir.Using(second))
		weir.Each(out, "say", done.add)
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	if was.Dead != 2 {
		t.Fatalf("%+v", was)
	}
	if v := verifyShop(t, def, was.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
	}
	broken, done.all = false, nil
	all := []event.Ref{{Stage: "go", Port: "failed", Seq: 1}, {Stage: "go", Port: "failed", Seq: 2}}
	if _, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Refs: all}, weir.Options{Dir: data, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "cannot be redriven: step a happened") {
		t.Errorf("both by name: %v", err)
	}
	var log strings.Builder
	r, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "go"}, weir.Options{Dir: data, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := r.Wait()
	if err != nil || !strings.Contains(log.String(), "a letter cannot be redriven") {
		t.Errorf("%v, what it said:\n%s", err, log.String())
	}
	if !slices.Equal(done.all, []int{2}) || sum.Out != 1 {
		t.Errorf("said %v: %+v", done.all, sum)
	}
	_, err = def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "go"}, weir.Options{Dir: data, Logger: quiet})
	if !errors.Is(err, weir.ErrNoLetters) || !strings.Contains(err.Error(), "step a happened, or may have") {
		t.Errorf("what is left: %v", err)
	}
}

// What reads dead letters can give some up, too; a stage that reads several streams
// gets its letters as one.
func TestRedriveOtherReaders(t *testing.T) {
	var told, kept memo[string]
	down := true
	def := weir.Define("readers", func(f *weir.Flow) {
		a, b := weir.From(f, "a", weir.Slice([]string{"a1", "a2"})), weir.From(f, "b", weir.Slice([]string{"b1", "b2"}))
		all := weir.Merge[string](a, b)
		valid := weir.Filter(weir.Records(all), "check", func(r event.Record[string]) (bool, error) {
			if r.Value[1] == '2' {
				return false, errors.New("two")
			}
			return true, nil
		})
		weir.Each(weir.Map(valid, "value", func(r event.Record[string]) (string, error) { return r.Value, nil }), "keep", kept.add)
		weir.Each(weir.DeadLetters(weir.Records(all), "check"), "tell", func(_ context.Context, l weir.Failed[event.Record[string]]) error {
			if down {
				return errors.New("no mail today")
			}
			told.keep(l.Ref.String())
			return nil
		})
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	down = false
	redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "tell"})
	if got := slices.Sorted(slices.Values(told.all)); !slices.Equal(got, []string{"a.out:2", "b.out:2"}) {
		t.Errorf("told %v", got)
	}
}

// Inputs that were recorded as another type are read by upcasters, as tables are; those
// that none reads are left where they are.
func TestRedriveUpcasts(t *testing.T) {
	type was struct{ N int }
	type is struct{ Number string }
	before := weir.Define("upcast", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice([]item[was]{{was{1}}, {was{2}}}))
		rows := weir.TableOf(weir.KeyBy(weir.From(f, "rows", weir.Slice([]item[was]{{was{2}}})), func(v item[was]) string { return strconv.Itoa(v.V.N) }))
		joined, _ := weir.Join(weir.KeyBy(in, func(v item[was]) string { return strconv.Itoa(v.V.N) }), rows, "join", func(item[was], item[was]) (string, error) { return "", errors.New("no") })
		weir.Each(joined, "say", func(context.Context, string) error { return nil })
	})
	var said memo[string]
	after := func(up ...event.Upcaster) *weir.Definition {
		return weir.Define("upcast", func(f *weir.Flow) {
			f.Upcast(up...)
			in := weir.From(f, "in", weir.Slice([]item[is]{}))
			rows := weir.TableOf(weir.KeyBy(weir.From(f, "rows", weir.Slice([]item[is]{})), func(v item[is]) string { return v.V.Number }))
			joined, _ := weir.Join(weir.KeyBy(in, func(v item[is]) string { return v.V.Number }), rows, "join", func(a, b item[is]) (string, error) { return a.V.Number + " is " + b.V.Number, nil })
			weir.Each(joined, "say", said.add)
		})
	}
	data := t.TempDir()
	recorded := runOf(t, before, data)
	refuses := event.Upcast("item", func(item[was]) (item[is], error) { return item[is]{}, errors.New("never heard of it") })
	for says, up := range map[string][]event.Upcaster{"this code cannot read its input": nil, "never heard of it": {refuses}} {
		_, err := after(up...).Redrive(t.Context(), weir.Letters{Run: recorded.Run, Stage: "join"}, weir.Options{Dir: data, Logger: quiet})
		if !errors.Is(err, weir.ErrNoLetters) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	reads := event.Upcast("item", func(o item[was]) (item[is], error) { return item[is]{is{strconv.Itoa(o.V.N)}}, nil })
	sum := redriveOf(t, after(reads), data, weir.Letters{Run: recorded.Run, Stage: "join"})
	if !slices.Equal(said.all, []string{"2 is 2"}) || sum.Out != 1 {
		t.Errorf("said %q: %+v", said.all, sum)
	}
}
