package weirtest

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Result is what a run left behind.
type Result struct {
	weir.Summary

	codec     event.Codec          // of payloads
	ports     map[string][]written // by journal, reserved ports included
	delivered map[string][]any     // what each sink got
	epochs    map[uint64]journal.ID
}

type written struct {
	typ     string
	payload []byte
	epoch   uint64
	refs    []plan.Origin // its absolute causes
}

func newResult() *Result {
	return &Result{ports: map[string][]written{}, delivered: map[string][]any{}, epochs: map[uint64]journal.ID{}}
}

// readable is a log that is not written any more.
type readable interface {
	Manifest() journal.Manifest
	Read(from journal.LSN) (journal.Reader, error)
}

// collect reads every journal of the run.
func (r *Result) collect(log readable) error {
	in, err := log.Read(0)
	if err != nil {
		return err
	}
	g, err := topology.Parse(log.Manifest().Definition)
	if err == nil {
		err = r.codec.UnmarshalText([]byte(g.Codec()))
	}
	if err != nil {
		return errors.Join(err, in.Close())
	}
	for _, e := range log.Manifest().Epochs {
		r.epochs[e.Number] = e.ID
	}
	trs := journal.Transitions(in)
	var p journal.Placed
	for {
		err := trs.Next(&p)
		if errors.Is(err, io.EOF) {
			return trs.Close()
		}
		if err != nil {
			return errors.Join(err, trs.Close())
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			name := p.Stage + "." + o.Port
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				w := written{typ: o.Type, payload: slices.Clone(rec.Payload), epoch: p.Epoch}
				for _, ref := range rec.Refs {
					w.refs = append(w.refs, plan.Origin{Journal: o.Journals[ref.Journal], Seq: ref.Seq})
				}
				r.ports[name] = append(r.ports[name], w)
			}
		}
	}
}

// Read returns what was written to a port, "settle.paid" or "validate.dead", in
// order; with the name of a stage alone, "shout", what its one port holds, or for
// a sink what was delivered to it. A port that was never written is empty. The
// test fails if T is not what the port holds.
func Read[T any](tb testing.TB, r *Result, port string) []T {
	tb.Helper()
	if got, ok := r.delivered[port]; ok {
		out := make([]T, len(got))
		for i, v := range got {
			if out[i], ok = v.(T); !ok {
				tb.Fatalf("weirtest: sink %s got %T, not %v", port, v, reflect.TypeFor[T]())
			}
		}
		return out
	}
	if !strings.Contains(port, ".") {
		port += ".out"
	}
	typ, err := payload.For[T](r.codec)
	if err != nil {
		tb.Fatalf("weirtest: read %s: %v", port, err)
	}
	out := make([]T, len(r.ports[port]))
	for i, w := range r.ports[port] {
		if err := typ.DecodeAs(payload.Recorded{Name: w.typ}, w.payload, &out[i]); err != nil {
			tb.Fatalf("weirtest: read %s:%d: %v", port, i+1, err)
		}
	}
	return out
}
