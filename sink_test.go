package weir_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/policy"
)

// A lasting log in memory outlives its owners, as a directory does.
type lasting struct{ log *memory.Log }

func (l *lasting) options() weir.Options {
	return weir.Options{Logger: quiet, Harness: &plan.Harness{Log: func(m journal.Manifest) journal.Log {
		if l.log == nil {
			l.log = memory.New(m, memory.Options{})
			return l.log
		}
		next, err := l.log.Reopen()
		if err != nil {
			panic(err)
		}
		l.log = next
		return next
	}}}
}

// A ledger is a sink that stands for a database or a file.
type ledger struct {
	limit int
	calls []string
	rows  []int
	mark  weir.Mark
	epoch uint64
	fail  func(batch []weir.Delivery[int]) error
	notes bool
	holds bool
	ends  bool
}

func (l *ledger) log(format string, args ...any) {
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
}

func (l *ledger) Open(_ context.Context, at weir.At) (weir.Writer[int], error) {
	l.log("open %s/%s epoch %d note %q", at.Flow, at.Stage, at.Epoch, at.Note)
	w := ledgerWriter{l}
	switch {
	case l.ends:
		return struct {
			ledgerWriter
			ledgerNoter
			ledgerFinisher
		}{w, ledgerNoter{l}, ledgerFinisher{l}}, nil
	case l.notes:
		return struct {
			ledgerWriter
			ledgerNoter
		}{w, ledgerNoter{l}}, nil
	case l.limit > 0:
		return struct {
			ledgerWriter
			ledgerLimiter
		}{w, ledgerLimiter{l}}, nil
	case l.holds:
		return struct {
			ledgerWriter
			ledgerFlusher
		}{w, ledgerFlusher{l}}, nil
	}
	return w, nil
}

type ledgerWriter struct{ l *ledger }

func (w ledgerWriter) Deliver(_ context.Context, batch []weir.Delivery[int]) error {
	if w.l.fail != nil {
		if err := w.l.fail(batch); err != nil {
			return err
		}
	}
	for _, d := range batch {
		w.l.rows = append(w.l.rows, d.Value)
	}
	w.l.log("deliver")
	return nil
}

func (w ledgerWriter) Close() error { w.l.log("close"); return nil }

type ledgerNoter struct{ l *ledger }

func (n ledgerNoter) Note() string { return strconv.Itoa(len(n.l.rows)) }

type ledgerLimiter struct{ l *ledger }

func (l ledgerLimiter) Limit() int { return l.l.limit }

type ledgerFlusher struct{ l *ledger }

func (f ledgerFlusher) Flush(context.Context) error { f.l.log("flush"); return nil }

type ledgerFinisher struct{ l *ledger }

func (f ledgerFinisher) Prepare(context.Context) (string, error) {
	f.l.log("prepare")
	return "prepared", nil
}

func (f ledgerFinisher) Finish(context.Context) (string, error) {
	f.l.log("finish")
	return "finished", nil
}

func intoLedger(l *ledger, n int, opts ...weir.SinkOption) *weir.Definition {
	return weir.Define("books", func(f *weir.Flow) {
		var ns []int
		for i := range n {
			ns = append(ns, i+1)
		}
		weir.Into(weir.From(f, "in", weir.Slice(ns)), "book", l, opts...)
	})
}

func TestDeliveriesHaveIDs(t *testing.T) {
	var seen []weir.Delivery[int]
	l := &ledger{fail: func(batch []weir.Delivery[int]) error { seen = append(seen, batch...); return nil }}
	if _, err := intoLedger(l, 3).Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	for i, d := range seen {
		id, stage, ok := strings.Cut(d.ID, ">")
		rec, err := event.ParseRecordID(id)
		if !ok || err != nil || stage != "book" || rec.Journal != "in.out" || rec.Seq != uint64(i+1) {
			t.Errorf("delivery %d has id %q: %v", i, d.ID, err)
		}
		if d.Attempt != 1 || d.Redelivery || d.Value != i+1 || d.Ref.String() != fmt.Sprintf("in.out:%d", i+1) || d.Recorded.IsZero() {
			t.Errorf("delivery %d = %+v", i, d)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d deliveries, want 3", len(seen))
	}
}

func TestPartialDelivery(t *testing.T) {
	var letters memo[weir.Failed[int]]
	l := &ledger{fail: func(batch []weir.Delivery[int]) error {
		e := &weir.PartialError{Failed: map[int]error{}}
		for i, d := range batch {
			if d.Value%2 == 0 {
				e.Failed[i] = event.Mark(event.KindPermanent, errors.New("even"))
			}
		}
		return e
	}}
	def := weir.Define("books", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4}))
		weir.Into(in, "book", l, weir.OnError{Budget: weir.Budget{Share: 1}})
		weir.Each(weir.DeadLetters(in, "book"), "dead", letters.add)
	})
	sum, err := def.Run(t.Context(), weir.Options{Logger: quiet})
	if err != nil || sum.Dead != 2 || sum.Out != 4 { // two booked, two letters printed
		t.Errorf("summary %+v, %v", sum, err)
	}
	var got []string
	for _, d := range letters.all {
		got = append(got, fmt.Sprintf("%d %s %s %s", d.Input, d.Ref, d.Kind, d.Reason))
	}
	if diff := gocmp.Diff([]string{"2 in.out:2 permanent even", "4 in.out:4 permanent even"}, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// A sink that takes two at once gets what follows only when they are delivered, or
// given up, and no sooner than the other side asked for.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		l := &ledger{limit: 2}
		l.fail = func(batch []weir.Delivery[int]) error {
			first := batch[0]
			l.log("%d from %d at %v", len(batch), first.Value, time.Since(began))
			switch {
			case first.Value == 3 && first.Attempt == 1:
				return effect.RetryAfter(errors.New("slow down"), time.Minute)
			case first.Value == 5:
				return effect.Permanent(errors.New("no"))
			}
			return nil
		}
		sum, err := intoLedger(l, 7, policy.Retry{Delay: time.Second}).Run(t.Context(), weir.Options{Logger: quiet})
		if err != nil || sum.Out != 5 || sum.Dead != 2 {
			t.Errorf("summary %+v, %v", sum, err)
		}
		want := []string{
			`open books/book epoch 1 note ""`, "2 from 1 at 0s", "deliver", "2 from 3 at 0s", "2 from 3 at 1m0s", "deliver",
			"2 from 5 at 1m0s", "1 from 7 at 1m0s", "deliver", "close",
		}
		if diff := gocmp.Diff(want, l.calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

func TestFlusherIsFlushed(t *testing.T) {
	l := &ledger{holds: true}
	if sum, err := intoLedger(l, 3).Run(t.Context(), weir.Options{Logger: quiet}); err != nil || sum.Out != 3 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if at := slices.Index(l.calls, "flush"); at < 0 || at > slices.Index(l.calls, "close") {
		t.Errorf("calls = %q", l.calls)
	}
}

func TestNoteComesBack(t *testing.T) {
	var last lasting
	l := &ledger{notes: true, fail: func(batch []weir.Delivery[int]) error {
		if batch[0].Value > 256 {
			panic("disk full")
		}
		return nil
	}}
	if sum, err := intoLedger(l, 300).Run(t.Context(), last.options()); err == nil {
		t.Fatalf("first epoch: %+v", sum)
	}
	l.fail = nil
	if sum, err := intoLedger(l, 300).Run(t.Context(), last.options()); err != nil || sum.Epoch != 2 || sum.Out != 300 {
		t.Fatalf("second epoch: %+v, %v", sum, err)
	}
	want := []string{
		`open books/book epoch 1 note ""`, "deliver", "close",
		`open books/book epoch 2 note "256"`, "deliver", "close",
	}
	if diff := gocmp.Diff(want, l.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if len(l.rows) != 300 || !slices.IsSorted(l.rows) {
		t.Errorf("%d rows", len(l.rows))
	}
}

func TestFinisherFinishesOnce(t *testing.T) {
	l := &ledger{ends: true}
	if sum, err := intoLedger(l, 3).Run(t.Context(), weir.Options{Logger: quiet}); err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	want := []string{`open books/book epoch 1 note ""`, "deliver", "prepare", "finish", "close"}
	if diff := gocmp.Diff(want, l.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A bank stores its mark in the same transaction as the rows.
type bank struct{ *ledger }

func (b bank) OpenTx(_ context.Context, at weir.At) (weir.TxWriter[int], error) {
	b.epoch = at.Epoch
	return bankWriter{b.ledger, at.Epoch}, nil
}

type bankWriter struct {
	l     *ledger
	epoch uint64
}

func (w bankWriter) Mark(context.Context) (weir.Mark, error) { return w.l.mark, nil }

func (w bankWriter) Commit(_ context.Context, batch []weir.Delivery[int], mark weir.Mark) error {
	if w.epoch != w.l.epoch {
		return errors.New("fenced")
	}
	for _, d := range batch {
		w.l.rows = append(w.l.rows, d.Value)
	}
	w.l.mark = mark
	if w.l.fail != nil {
		return w.l.fail(batch) // after the commit: the answer is lost
	}
	return nil
}

func (w bankWriter) Close() error { return nil }

// What a transactional sink has committed is not delivered again, though its
// answer was lost.
func TestExactlyOnce(t *testing.T) {
	var last lasting
	b := bank{&ledger{}}
	b.fail = func(batch []weir.Delivery[int]) error { panic("the process dies") }
	def := weir.Define("bank", func(f *weir.Flow) {
		weir.Into(weir.From(f, "in", weir.Slice([]int{1, 2, 3})), "book", weir.ExactlyOnce(b))
	})
	g, err := def.Graph(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := g.Stage("book"); s.Guarantee != "exactly once" {
		t.Errorf("guarantee = %q", s.Guarantee)
	}
	if sum, err := def.Run(t.Context(), last.options()); err == nil || sum.Out != 0 {
		t.Fatalf("first epoch: %+v, %v", sum, err)
	}
	b.fail = nil
	if sum, err := def.Run(t.Context(), last.options()); err != nil || sum.Out != 3 {
		t.Fatalf("second epoch: %+v, %v", sum, err)
	}
	if !slices.Equal(b.rows, []int{1, 2, 3}) {
		t.Errorf("rows = %v", b.rows)
	}
}
