package weir_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

// restless is a flow of which everything holds a number that is another one each
// time. edit leaves fields unverified.
func restless(n *atomic.Int64, edit func(*weir.Flow)) *weir.Definition {
	type line struct {
		At int64  `json:"at"`
		ID string `json:"id"`
	}
	type quote struct {
		By    map[string]line `json:"by"`
		Lines []line          `json:"lines"`
		Total int             `json:"total"`
	}
	type wish struct {
		For string `json:"for"`
		At  int64  `json:"at"`
	}
	return weir.Define("restless", func(f *weir.Flow) {
		orders := weir.From(f, "orders", weir.Slice(shopOrders(12)))
		quotes := weir.Map(orders, "quote", func(o verOrder) (quote, error) {
			if o.Total == 7 {
				return quote{}, fmt.Errorf("attempt %d", n.Add(1))
			}
			l := line{n.Add(1), o.ID}
			return quote{map[string]line{"a": l, "b": {n.Add(1), "x"}}, []line{l, {n.Add(1), "y"}}, o.Total}, nil
		})
		last := weir.Reduce(weir.All(orders), "last", weir.Zero[weir.Whole, line], func(l *line, o verOrder) error {
			*l = line{n.Add(1), o.ID}
			return nil
		}, weir.EmitAtEnd())
		paid, _ := weir.Perform(orders, "pay", effect.Adapt(effect.Keyed("pay.v1", func(w wish) string { return w.For },
			func(context.Context, effect.Call, wish) (string, error) { return "paid", nil }),
			func(o verOrder) (wish, error) { return wish{o.ID, n.Add(1)}, nil },
			func(_ verOrder, s string) (string, error) { return s, nil }))
		weir.Each(quotes, "show", func(context.Context, quote) error { return nil })
		weir.Each(last, "tell", func(context.Context, line) error { return nil })
		weir.Each(paid, "note", func(context.Context, string) error { return nil })
		edit(f)
	})
}

func TestUnverified(t *testing.T) {
	var n atomic.Int64
	all := map[string][]string{
		"quote.out": {"by.*.at", "lines.at"}, "quote.dead": {"reason"}, "last#state": {"value.at"}, "last.out": {"at"}, "pay.fx": {"request.at"},
	}
	masked := func(without string) *weir.Definition {
		return restless(&n, func(f *weir.Flow) {
			for of, fields := range all {
				if of != without {
					f.Unverified(of, fields...)
				}
			}
		})
	}
	dir := recordShop(t, masked(""))
	v := verifyShop(t, masked(""), dir, weir.VerifyOptions{})
	if v.Outcome != weir.Identical {
		t.Errorf("with all left out: %s, skipped %v, %+v", v.Outcome, v.Skipped, v.Differences)
	}
	for _, s := range v.Stages {
		if m := s.Masked; (m > 0) != (s.Stage == "quote" || s.Stage == "last" || s.Stage == "pay") {
			t.Errorf("stage %s: %d masked", s.Stage, m)
		}
	}
	for of := range all {
		v := verifyShop(t, masked(of), dir, weir.VerifyOptions{})
		if v.Outcome != weir.Different && of != "last.out" { // it is emitted from state as it is recorded
			t.Errorf("without %s: %s", of, v.Outcome)
		}
		for _, d := range v.Differences {
			if d.Journal != of {
				t.Errorf("without %s: %+v", of, d)
			}
		}
	}
}

func TestUnverifiedMistakes(t *testing.T) {
	var n atomic.Int64
	for _, tt := range []struct {
		of, says string
		fields   []string
	}{
		{"qoute.out", "did you mean quote?", []string{"at"}},
		{"quote.uot", "the stage has quote.out, quote.dead", []string{"at"}},
		{"last#table", "last#state", []string{"at"}},
		{"quote.fx", "the stage has quote.out", []string{"request"}},
		{"quote.out", "names no field", nil},
		{"quote.out", "names joined by dots", []string{"lines[0].at"}},
		{"quote.out", "names joined by dots", []string{"lines..at"}},
		{"quote.out", "names joined by dots", []string{""}},
	} {
		_, err := restless(&n, func(f *weir.Flow) { f.Unverified(tt.of, tt.fields...) }).Graph(nil)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Unverified(%q, %q): %v, want %q", tt.of, tt.fields, err, tt.says)
		}
	}
}

// A run that goes on is verified as far as it is durable, and the chain value of the
// report is that of the frame, later too.
func TestVerifyWhileItIsWritten(t *testing.T) {
	in, got := make(chan int), make(chan int, 100)
	def := weir.Define("live", func(f *weir.Flow) {
		ns := weir.From(f, "numbers", weir.Chan(in))
		weir.Each(weir.Map(ns, "twice", func(n int) (int, error) { return 2 * n, nil }), "say", func(_ context.Context, n int) error {
			got <- n
			return nil
		})
	})
	r, err := def.Start(t.Context(), weir.Options{Dir: t.TempDir(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		in <- i
		<-got
	}
	v := verifyShop(t, def, r.Dir(), weir.VerifyOptions{Chain: true})
	if v.Outcome != weir.Identical || v.Records < 20 || v.At.Chain == "" {
		t.Errorf("while it is written: %s, %d records, %+v", v.Outcome, v.Records, v.At)
	}
	for i := range 20 {
		in <- i
		<-got
	}
	close(in)
	if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
		t.Fatal(sum, err)
	}
	f, err := segment.CheckUpTo(vfs.OS, r.Dir(), v.At.LSN)
	if err != nil || f.ChainAt != v.At.Chain || f.Chain == v.At.Chain {
		t.Errorf("the chain value after frame %d is %s now, was %s: %v", v.At.LSN, f.ChainAt, v.At.Chain, err)
	}
	if v := verifyShop(t, def, r.Dir(), weir.VerifyOptions{Chain: true}); v.Outcome != weir.Identical || v.At.Chain != f.Chain {
		t.Errorf("at its end: %s, %+v, chain %s", v.Outcome, v.At, f.Chain)
	}
}

// Runs that cannot be verified are refused with what is wrong.
func TestVerifyRefuses(t *testing.T) {
	var n atomic.Int64
	def := shop(20, shopBuild{})
	dir := recordShop(t, def)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no time")
	cancel(why)
	for name, tt := range map[string]struct {
		def  *weir.Definition
		dir  string
		ctx  context.Context
		says string
	}{
		"another flow":   {restless(&n, func(*weir.Flow) {}), dir, t.Context(), "is of flow shop, this is restless"},
		"no run":         {def, t.TempDir(), t.Context(), "manifest.json"},
		"no directory":   {def, dir + "/nothing", t.Context(), "manifest.json"},
		"an end":         {def, dir, ctx, "no time"},
		"a broken build": {shop(20, shopBuild{edit: func(f *weir.Flow) { f.Unverified("x.out", "y") }}), dir, t.Context(), "there is no stage"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tt.def.Verify(tt.ctx, tt.dir, weir.VerifyOptions{Logger: quiet}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("verify: %v, want %q", err, tt.says)
			}
			if _, err := tt.def.Replay(tt.ctx, tt.dir, weir.Options{Logger: quiet}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("replay: %v, want %q", err, tt.says)
			}
		})
	}
}
