package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// A Record is one entry of a journal, as it is recorded.
type Record struct {
	Ref      event.Ref
	ID       event.RecordID // for ever
	Type     string         // payload type name
	LSN      journal.LSN    // last frame of its transition
	Epoch    uint64
	Recorded time.Time // wall clock of its transition
	Time     time.Time // event time, zero if it has none
	Key      []byte    // encoded, nil if it has none
	Blob     string    // SHA-256 of the blob that holds the payload, hex; "" if Payload does
	Payload  []byte    // as it was recorded; in JSON if that was CBOR
	Durable  bool      // false: a loss of power could still take it
}

// MarshalJSON writes the record for people and programs: a payload that is JSON
// as it is, any other text as a string, the rest in base64 under "bytes".
func (r Record) MarshalJSON() ([]byte, error) {
	type form struct {
		Ref         event.Ref       `json:"ref"`
		ID          event.RecordID  `json:"id"`
		Type        string          `json:"type"`
		LSN         journal.LSN     `json:"lsn"`
		Epoch       uint64          `json:"epoch"`
		Recorded    time.Time       `json:"recorded"`
		Time        *time.Time      `json:"time,omitempty"`
		Key         string          `json:"key,omitempty"`
		Payload     json.RawMessage `json:"payload,omitempty"`
		Bytes       []byte          `json:"bytes,omitempty"`
		Blob        string          `json:"blob,omitempty"`
		Unconfirmed bool            `json:"unconfirmed,omitempty"`
	}
	f := form{
		Ref: r.Ref, ID: r.ID, Type: r.Type, LSN: r.LSN, Epoch: r.Epoch, Recorded: r.Recorded,
		Key: text(r.Key), Blob: r.Blob, Unconfirmed: !r.Durable,
	}
	if !r.Time.IsZero() {
		f.Time = &r.Time
	}
	switch {
	case r.Blob != "":
	case json.Valid(r.Payload):
		f.Payload = r.Payload
	case utf8.Valid(r.Payload):
		f.Payload, _ = marshal(string(r.Payload))
	default:
		f.Bytes = r.Payload
	}
	return marshal(f)
}

// marshal is json.Marshal without changing characters that mean something to
// HTML: a payload shall look as it was recorded.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// text is b if it can be read, else its hexadecimal digits.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "0x" + hex.EncodeToString(b)
}

// A Range says which records of a journal are wanted.
type Range struct {
	From   uint64 // first sequence; zero means the first that is kept
	To     uint64 // last sequence; zero means no end
	Limit  int    // at most this many; zero means all
	Last   int    // the last so many; zero means no such bound
	Follow bool   // durable ones only; at the end wait for more, until the context is done or the run is completed
}

// Records yields the records of a journal (stage.port) in order. What a record
// holds is the caller's. The sequence ends with an error if there was one.
func (r *Run) Records(ctx context.Context, name string, rng Range) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := r.records(ctx, name, rng, func(rec Record) bool { return yield(rec, nil) }); err != nil {
			yield(Record{}, err)
		}
	}
}

func (r *Run) records(ctx context.Context, name string, rng Range, yield func(Record) bool) error {
	state, err := r.state()
	if err != nil {
		return err
	}
	if name, err = r.journalIn(state, name); err != nil {
		return err
	}
	stage, port := split(name)
	var count uint64
	if s := state.Stages[stage]; s != nil {
		count = s.Ports[port].Count
	}
	next := max(rng.From, 1)
	if r.manifest.Kept != nil {
		next = max(next, r.manifest.Kept.Journals[name])
	}
	if rng.Last > 0 && count > uint64(rng.Last) {
		next = max(next, count-uint64(rng.Last)+1)
	}
	to := cmp.Or(rng.To, math.MaxUint64)
	given := 0
	take := func(e entry) bool {
		next = e.seq + 1
		given++
		return yield(r.record(e)) && given != rng.Limit
	}
	if rng.Follow {
		return r.follow(ctx, name, next, to, take)
	}
	if err := r.each(ctx, name, next, min(count, to), take); err != nil {
		return trimmed(name, err)
	}
	return nil
}

// follow calls fn with the records of a journal from sequence from on as they are
// written, until fn returns false, the context is done or the run is completed.
func (r *Run) follow(ctx context.Context, name string, from, to uint64, fn func(entry) bool) (err error) {
	at, err := r.log.Find(name, from)
	if err != nil {
		return trimmed(name, err)
	}
	read := r.log.Read
	if v, ok := r.log.(interface {
		ReadDurable(from journal.LSN) (journal.Reader, error)
	}); ok {
		read = v.ReadDurable
	}
	in, err := read(at)
	if err != nil {
		return trimmed(name, err)
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	stage, port := split(name)
	seen := max(at, 1) - 1
	var p journal.Placed
	for {
		err := ts.Next(&p)
		if err == nil {
			seen = p.Last
		}
		switch {
		case errors.Is(err, io.EOF):
			t, at, err := r.terminal()
			if err != nil || r.wait == nil || (t != nil && t.Status == evidence.Completed && seen >= at.Last) {
				return err
			}
			if err := r.wait(ctx, seen); err != nil {
				return err
			}
		case err != nil:
			return err
		case p.Stage == stage:
			if more, err := within(&p, name, port, from, to, fn); err != nil || !more {
				return err
			}
		}
	}
}

// An entry is a record where it was found. It is valid until each goes on.
type entry struct {
	seq  uint64
	rec  *journal.Record
	out  *journal.Output
	p    *journal.Placed
	name string
}

// leap is after how many frames without a record of a journal its index is asked
// where the next one is.
const leap = 256

// each calls fn with the records from to to of a journal, until fn returns false.
func (r *Run) each(ctx context.Context, name string, from, to uint64, fn func(entry) bool) error {
	if from > to {
		return nil
	}
	stage, port := split(name)
	at, err := r.log.Find(name, from)
	if err != nil {
		return err
	}
	for at != 0 {
		at, err = r.stretch(ctx, at, stage, func(p *journal.Placed) (bool, error) {
			return within(p, name, port, from, to, func(e entry) bool {
				from = e.seq + 1
				return fn(e)
			})
		}, func() (journal.LSN, error) { return r.log.Find(name, from) })
		if err != nil {
			return err
		}
	}
	return nil
}

// within calls fn with the records from to to of a port that p wrote. It reports
// whether more may follow.
func within(p *journal.Placed, name, port string, from, to uint64, fn func(entry) bool) (bool, error) {
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port != port || o.First+uint64(o.Count) <= from {
			continue
		}
		var rec journal.Record
		rs := journal.NewRecords(o)
		for seq, ok := rs.Next(&rec); ok; seq, ok = rs.Next(&rec) {
			if seq < from {
				continue
			}
			if seq > to || !fn(entry{seq: seq, rec: &rec, out: o, p: p, name: name}) || seq == to {
				return false, nil
			}
		}
		if err := rs.Err(); err != nil {
			return false, &journal.FrameError{LSN: p.Last, Err: err}
		}
	}
	return true, nil
}

// stretch gives the transitions of a stage from at on to fn, until fn returns
// false or the log ends: then it returns zero. When the stage has written nothing
// for a while it asks for a place further on, and returns it if there is one.
func (r *Run) stretch(ctx context.Context, at journal.LSN, stage string, fn func(*journal.Placed) (bool, error), ask func() (journal.LSN, error)) (next journal.LSN, err error) {
	in, err := r.log.Read(at)
	if err != nil {
		return 0, err
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	var p journal.Placed
	for quiet := 0; ; quiet++ {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		if err := ts.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return 0, err
		}
		if p.Stage == stage {
			quiet = 0
			if more, err := fn(&p); err != nil || !more {
				return 0, err
			}
		}
		if quiet < leap {
			continue
		}
		quiet = 0
		if at, err := ask(); err != nil || at > p.Last+leap {
			return at, err
		}
	}
}

// record makes the caller's copy of e.
func (r *Run) record(e entry) Record {
	stage, port := split(e.name)
	rec := Record{
		Ref:      event.Ref{Stage: stage, Port: port, Seq: e.seq},
		ID:       event.RecordID{Epoch: e.p.Author(r.epochID(e.p.Epoch)), Journal: e.name, Seq: e.seq},
		Type:     e.out.Type,
		LSN:      e.p.Last,
		Epoch:    e.p.Epoch,
		Recorded: e.p.Time,
		Key:      bytes.Clone(e.rec.Key),
		Durable:  e.p.Last <= r.log.Durable(),
	}
	if e.rec.HasTime {
		rec.Time = time.Unix(0, e.rec.Time).UTC()
	}
	if e.rec.Blob {
		rec.Blob = hex.EncodeToString(e.rec.Payload)
	} else {
		rec.Payload = bytes.Clone(r.shown(port, e.rec.Payload))
	}
	return rec
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
