package weir_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/policy"
)

// Whoever decides about a call sees what was asked for, whatever its safety class.
func TestCallsShowWhatWasAskedFor(t *testing.T) {
	type asked struct {
		Order string `json:"order"`
	}
	do := func(context.Context, effect.Call, asked) (string, error) { return "", errors.New("connection lost") }
	adapt := func(e effect.Effect[asked, string]) effect.Effect[string, string] {
		return effect.Adapt(e, func(id string) (asked, error) { return asked{"number " + id}, nil },
			func(_, res string) (string, error) { return res, nil })
	}
	for _, e := range []effect.Effect[string, string]{
		adapt(effect.Keyed("keyed", func(a asked) string { return a.Order }, do)),
		adapt(effect.KeyedByInput("by_input", do)),
		adapt(effect.AtMostOnce("at_most_once", do, effect.AskAPerson[asked, string])),
		adapt(effect.AtLeastOnce("at_least_once", do)),
	} {
		def := weir.Define("calls", func(f *weir.Flow) {
			in := weir.From(f, "in", weir.Slice([]string{"7"}))
			done, failed := weir.Perform(in, "ask", e, policy.Retry{Max: 2, Delay: 1})
			weir.Each(done, "done", func(context.Context, string) error { return nil })
			weir.Each(failed, "failed", func(context.Context, weir.Failed[string]) error { return nil })
		})
		waits := make(chan struct{}, 1)
		r, err := def.Start(t.Context(), weir.Options{
			Dir:    filepath.Join(t.TempDir(), "data"),
			Logger: slog.New(&listener{"waiting for decisions", func() { waits <- struct{}{} }}),
		})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-waits:
			err = r.Stop(t.Context())
		case <-r.Done():
		}
		if _, ended := r.Wait(); err != nil || ended != nil {
			t.Fatal(err, ended)
		}
		h, err := history.Open(r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for c, err := range h.Calls(t.Context(), "ask") {
			if n++; err != nil || string(c.Request) != `{"order":"number 7"}` {
				t.Errorf("%s: request %s, %v", e.Safety(), c.Request, err)
			}
		}
		if err := h.Close(); err != nil || n != 1 {
			t.Errorf("%s: %d calls, %v", e.Safety(), n, err)
		}
	}
}
