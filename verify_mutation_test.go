package weir_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/verify"
	"github.com/weirflow/weir/journal"
)

// mutable is a flow of every kind of stage that verify executes. JSON objects are
// written with their members in alphabetical order, so that twisting one changes
// nothing else.
func mutable() *weir.Definition {
	type order struct {
		Amount   int    `json:"amount"`
		Customer string `json:"customer"`
		ID       string `json:"id"`
	}
	type charge struct {
		Cents int    `json:"cents"`
		For   string `json:"for"`
	}
	type person struct {
		Level int    `json:"level"`
		Name  string `json:"name"`
	}
	return weir.Define("mutable", func(f *weir.Flow) {
		var all []order
		var people []person
		for i := range 30 {
			all = append(all, order{Amount: i, Customer: fmt.Sprint("c", i%4), ID: fmt.Sprint("o", i)})
		}
		for i := range 3 {
			people = append(people, person{i, fmt.Sprint("c", i)})
		}
		orders := weir.From(f, "orders", weir.Slice(all))
		valid := weir.Filter(orders, "valid", func(o order) (bool, error) {
			if o.Amount%10 == 3 {
				return false, errors.New("a three")
			}
			return o.Amount%10 != 4, nil
		})
		byCustomer := weir.KeyBy(valid, func(o order) string { return o.Customer })
		sums := weir.Reduce(byCustomer, "totals", weir.Zero[string, verSum], func(s *verSum, o order) error {
			s.Orders++
			s.Total += o.Amount
			return nil
		}, weir.EmitAlways(), weir.EmitAtEnd())
		table := weir.TableOf(weir.KeyBy(weir.From(f, "people", weir.Slice(people)), func(p person) string { return p.Name }))
		joined, alone := weir.Join(byCustomer, table, "level", func(o order, p person) (charge, error) {
			return charge{p.Level, o.ID}, nil
		})
		act := func(_ context.Context, c effect.Call, r charge) (string, error) {
			if r.Cents%7 == 2 {
				return "", effect.Permanent(errors.New("no"))
			}
			return fmt.Sprint("auth ", r.Cents), nil
		}
		ask := func(o order) (charge, error) { return charge{100 * o.Amount, o.ID}, nil }
		take := func(_ order, auth string) (string, error) { return auth, nil }
		paid, failed := weir.Perform(valid, "pay", effect.Adapt(effect.Keyed("pay.v1", func(c charge) string { return c.For }, act), ask, take))
		sent, unsent := weir.Perform(valid, "send", effect.Adapt(effect.Idempotent("send.v1", func(ctx context.Context, r charge) (string, error) {
			return act(ctx, effect.Call{}, r)
		}), ask, take))
		weir.Each(weir.Merge(paid, sent), "note", func(_ context.Context, auth string) error {
			if strings.HasSuffix(auth, "500") {
				return errors.New("not today")
			}
			return nil
		})
		weir.Each(sums, "sums", func(context.Context, verSum) error { return nil })
		weir.Each(joined, "joined", func(context.Context, charge) error { return nil })
		weir.Each(alone, "alone", func(context.Context, order) error { return nil })
		weir.Each(weir.Merge(failed, unsent), "failed", func(context.Context, weir.Failed[order]) error { return nil })
	})
}

// recordMutable runs it in small transitions.
func recordMutable(t *testing.T) (dir string) {
	t.Helper()
	sum, err := mutable().Run(t.Context(), weir.Options{Dir: t.TempDir(), Logger: quiet, Harness: &plan.Harness{Batch: 3}})
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("run: %+v, %v", sum, err)
	}
	return sum.Dir
}

// verifyStory verifies what a story tells.
func verifyStory(t *testing.T, s *story) *verify.Report {
	t.Helper()
	return verifyStoryOf(t, mutable(), s)
}

func verifyStoryOf(t *testing.T, def *weir.Definition, s *story) *verify.Report {
	t.Helper()
	flow, err := def.Plan()
	if err != nil {
		t.Fatal(err)
	}
	log := s.log(t)
	r, err := verify.Run(t.Context(), verify.Config{Flow: flow, Log: log, Upto: log.Head(), Max: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// find returns the differences at a record, and how many its journal has.
func find(r *verify.Report, name string, seq uint64) (at []verify.Difference, all int) {
	for _, d := range r.Differences {
		if d.Journal == name {
			if all++; d.Seq == seq && len(d.Fields) > 0 {
				at = append(at, d)
			}
		}
	}
	return at, all
}

// Whatever is changed in a log, so that all its sums are right, is found and named.
func TestEveryMutationIsFound(t *testing.T) {
	was := readStory(t, recordMutable(t))
	if r := verifyStory(t, was); r.Total != 0 || len(r.Skipped) > 0 {
		t.Fatalf("the story as it was: %d differences, %v: %+v", r.Total, r.Skipped, r.Differences[:min(5, len(r.Differences))])
	}
	counts := map[string]int{}
	records := 0
	for _, p := range was.spots() {
		port := p.journal[strings.LastIndexByte(p.journal, '.')+1:]
		stage := was.told[p.chapter].Stage
		if port == journal.PortSys || stage == "orders" || stage == "people" || stage == evidence.Pipeline {
			continue // given
		}
		if records++; testing.Short() && records%9 > 0 {
			continue
		}
		payload := was.at(p).Payload
		changed := twist(payload)
		where, at := p.journal, p.seq
		switch {
		case port == evidence.Receipts:
			r, err := evidence.Parse[evidence.Receipt](payload)
			if err != nil {
				t.Fatal(err)
			}
			if r.Journal == "" {
				continue // a note
			}
			r.To++
			changed = evidence.Append(nil, r)
		case port == journal.PortDead:
			changed = twist(payload, "input")
		case p.typ == plan.EntryIntent:
			changed = twist(payload, "request", "cents")
		case port == journal.PortFx:
			changed = twist(payload, "attempt")
		}
		if changed == nil {
			t.Fatalf("nothing to change in %s:%d: %s", p.journal, p.seq, payload)
		}
		s := was.clone()
		s.set(p, changed)
		if found, _ := find(verifyStory(t, s), where, at); len(found) == 0 {
			t.Errorf("%s:%d: the payload was changed from %s to %s, and nobody noticed", p.journal, p.seq, payload, changed)
		}
		counts["changed"]++

		s = was.clone()
		s.remove(p)
		if !noticed(verifyStory(t, s), stage, p) {
			t.Errorf("%s:%d was removed, and nobody noticed: %s", p.journal, p.seq, payload)
		}
		counts["removed"]++

		s = was.clone()
		s.insert(p, payload)
		r := verifyStory(t, s)
		if !noticed(r, stage, p) {
			t.Errorf("behind %s:%d its like was inserted, and nobody noticed", p.journal, p.seq)
		}
		if _, all := find(r, p.journal, 0); all != 1 && port != journal.PortFx && port != evidence.Receipts {
			t.Errorf("one record inserted behind %s:%d is %d differences of the journal", p.journal, p.seq, all)
		}
		counts["inserted"]++
	}
	if records < 200 {
		t.Errorf("the run has %d records, want at least 200", records)
	}
	t.Logf("%d records, mutations %v", records, counts)
}

// A receipt that reaches into the next one of its transition is told of as such.
func TestReceiptThatReachesTooFarIsFound(t *testing.T) {
	was := readStory(t, recordMutable(t))
	tried := 0
	for _, p := range was.spots() {
		if !strings.HasSuffix(p.journal, "."+evidence.Receipts) {
			continue
		}
		all, err := evidence.Parse[evidence.Receipt](was.at(p).Payload)
		if err != nil {
			t.Fatal(err)
		}
		if all.Journal == "" || len(all.Failed) > 0 || all.From == all.To {
			continue
		}
		first, second := all, all
		first.To, second.From = all.From, all.From+1
		s := was.clone()
		s.set(p, evidence.Append(nil, first))
		s.insert(p, evidence.Append(nil, second))
		if r := verifyStory(t, s); r.Total != 0 {
			t.Fatalf("a receipt in two: %+v", r.Differences)
		}
		first.To++
		s.set(p, evidence.Append(nil, first))
		if found, _ := find(verifyStory(t, s), p.journal, p.seq); len(found) != 1 {
			t.Errorf("%s:%d for %d to %d is followed by one from %d, and this is told: %+v", p.journal, p.seq, first.From, first.To, second.From, found)
		}
		tried++
	}
	if tried == 0 {
		t.Error("the run has no receipt for more than one record")
	}
}

// noticed reports whether a difference is told of the stage, at a record of the
// journal or right behind it.
func noticed(r *verify.Report, stage string, p spot) bool {
	for _, d := range r.Differences {
		if d.Stage == stage && d.Journal == p.journal && len(d.Fields) > 0 && (d.Seq == p.seq || d.Seq == p.seq+1) {
			return true
		}
	}
	return false
}

// State that was changed, removed or invented is found and named by its key.
func TestEveryMutationOfStateIsFound(t *testing.T) {
	was := readStory(t, recordMutable(t))
	n := 0
	for i, c := range was.told {
		for j, changes := range c.states {
			for k := range changes {
				n++
				for what, mutate := range map[string]func(s *story){
					"changed": func(s *story) {
						ch := &s.told[i].states[j][k]
						if ch.Value = twist(ch.Value); ch.Value == nil {
							ch.Value = []byte("zzz")
						}
					},
					"removed": func(s *story) {
						s.told[i].states[j] = append(s.told[i].states[j][:k:k], s.told[i].states[j][k+1:]...)
					},
					"doubled": func(s *story) {
						ch := changes[k]
						ch.Key = append([]byte(nil), ch.Key...)
						ch.Key = append(ch.Key, 'x')
						s.told[i].states[j] = append(s.told[i].states[j], ch)
					},
				} {
					if c.State[j].Table == plan.EndTable && what == "doubled" {
						continue
					}
					s := was.clone()
					mutate(s)
					key := string(changes[k].Key)
					if what == "doubled" {
						key += "x"
					}
					found := false
					for _, d := range verifyStory(t, s).Differences {
						found = found || d.Stage == c.Stage && d.Journal == c.Stage+"#"+c.State[j].Table && d.Key == key && d.LSN == journal.LSN(i+1)
					}
					if !found {
						t.Errorf("frame %d: the state of %s %s was %s, and nobody noticed", i+1, c.Stage, key, what)
					}
				}
			}
		}
	}
	if n < 25 {
		t.Errorf("%d changes of state", n)
	}
}

// An end that comes too early, or says another kind, is found.
func TestEveryMutationOfAnEndIsFound(t *testing.T) {
	was := readStory(t, recordMutable(t))
	n := 0
	for i, c := range was.told {
		for j := range c.Consumed {
			if c.Consumed[j].Kind != journal.Ended {
				continue
			}
			n++
			s := was.clone()
			s.told[i].Consumed[j].End = journal.Truncated
			if r := verifyStory(t, s); r.Total == 0 || r.Differences[0].Stage != c.Stage {
				t.Errorf("frame %d: the end of %s was cut short for %s, and nobody noticed", i+1, c.Consumed[j].Journal, c.Stage)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d ends", n)
	}
}
