package weir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/verify"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// garble changes a story at random, in ways that no run leaves behind and that can be
// written all the same.
func garble(rng *rand.Rand, s *story) {
	one := func(n int) int { return rng.IntN(max(n, 1)) }
	i := one(len(s.told))
	c := s.told[i]
	number := func(n uint64) uint64 {
		return []uint64{0, 1, n, n + 1, n + 5, 1 << 40, n - min(n, 1)}[rng.IntN(7)]
	}
	junk := func(b []byte) []byte {
		b = bytes.Clone(b)
		switch k := rng.IntN(4); {
		case len(b) == 0 || k == 0:
			return []byte([]string{"", "null", "{}", "[1,[2]]", `{"step":1}`, "\xff\x00", `"x"`, "-1e999"}[rng.IntN(8)])
		case k == 1:
			b[one(len(b))] ^= byte(1 << rng.IntN(8))
		case k == 2:
			b = b[:one(len(b))]
		default:
			b = append(b, b...)
		}
		return b
	}
	name := func() string {
		o := s.told[one(len(s.told))]
		return o.Stage + "." + []string{"out", "dead", "fx", "sys", "receipts", "failed", "none"}[rng.IntN(7)]
	}
	items := func(n int) (all []int) {
		for range rng.IntN(3) {
			all = append(all, rng.IntN(n+3))
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	switch rng.IntN(12) {
	case 0: // what was consumed
		if len(c.Consumed) > 0 {
			k := &c.Consumed[one(len(c.Consumed))]
			switch rng.IntN(5) {
			case 0:
				k.To = max(k.From, number(k.To))
			case 1:
				k.From = min(k.To, number(k.From))
			case 2:
				k.Journal = name()
			case 3:
				k.ID += "x"
			default:
				k.End = journal.EndKind(1 + rng.IntN(3))
			}
		}
	case 1:
		if len(c.Consumed) > 0 {
			at := one(len(c.Consumed))
			if rng.IntN(2) == 0 {
				c.Consumed = slices.Delete(c.Consumed, at, at+1)
			} else {
				c.Consumed = slices.Insert(c.Consumed, at, c.Consumed[at])
			}
		}
	case 2: // a chapter
		switch rng.IntN(3) {
		case 0:
			s.told = slices.Delete(s.told, i, i+1)
		case 1:
			j := one(len(s.told))
			s.told[i], s.told[j] = s.told[j], s.told[i]
		default:
			s.told = slices.Insert(s.told, i, c)
		}
	case 3:
		c.Stage = s.told[one(len(s.told))].Stage
	case 4, 5, 6: // a record
		if len(c.outputs) == 0 {
			return
		}
		o := c.outputs[one(len(c.outputs))]
		if len(o.records) == 0 {
			return
		}
		r := &o.records[one(len(o.records))]
		switch rng.IntN(7) {
		case 0, 1:
			r.Payload = junk(r.Payload)
		case 2:
			r.Items = items(8)
		case 3:
			r.refs = append(r.refs, plan.Origin{Journal: name(), Seq: number(3)})
		case 4:
			if len(r.refs) > 0 {
				r.refs[0].Seq = number(r.refs[0].Seq)
			}
		case 5:
			r.Key, r.FromKey = junk(r.Key), !r.FromKey
		default:
			o.typ = []string{"", plan.EntryOutcome, plan.EntrySignal, plan.EntryWoken, plan.EntryCompleted, "weir.receipt.v1", "x"}[rng.IntN(7)]
		}
	case 7:
		if len(c.outputs) > 0 {
			c.outputs[one(len(c.outputs))].port = []string{"out", "dead", "fx", "failed", "x"}[rng.IntN(5)]
		}
	case 8, 9: // state
		if len(c.states) == 0 {
			return
		}
		at := one(len(c.states))
		if rng.IntN(6) == 0 {
			c.State[at].Table = "x"
		}
		if len(c.states[at]) > 0 {
			ch := &c.states[at][one(len(c.states[at]))]
			switch rng.IntN(5) {
			case 0:
				ch.Key = junk(ch.Key)
			case 1:
				ch.Value = junk(ch.Value)
			case 2:
				ch.Deleted = !ch.Deleted
			case 3:
				ch.Previous = journal.LSN(number(uint64(ch.Previous)))
			default:
				ch.Items, ch.Journal, ch.Seq = items(8), name(), number(ch.Seq)
			}
		}
	case 10: // open work
		if len(c.Open) == 0 {
			return
		}
		w := &c.Open[one(len(c.Open))]
		switch rng.IntN(5) {
		case 0:
			w.ID = number(w.ID)
		case 1:
			w.Op = journal.OpenOp(1 + rng.IntN(3))
		case 2:
			w.Data = junk(w.Data)
		case 3:
			w.Journal, w.Seq = name(), number(w.Seq)
		default:
			c.Open = append(c.Open, *w)
		}
	case 11:
		if len(c.Ends) > 0 {
			c.Ends[one(len(c.Ends))].Kind = journal.EndKind(1 + rng.IntN(3))
		} else {
			c.Ends = append(c.Ends, journal.End{Port: "out", Kind: journal.Natural})
		}
	}
}

// Whatever a log says, verify, replay, why and impact come to an end without a panic.
func TestGarbage(t *testing.T) {
	t.Parallel()
	disk, dir := recordTrips(t, 5, 0)
	for name, w := range map[string]struct {
		was *story
		def func() *weir.Definition
	}{
		"steps":  {readStoryOn(t, disk, dir), func() *weir.Definition { return trips(5, &agency{}, stepsBuild{}) }},
		"stages": {readStory(t, recordMutable(t)), mutable},
	} {
		n := 600
		if testing.Short() {
			n = 60
		}
		var told, differed, refused int
		var mu sync.Mutex
		var all sync.WaitGroup
		for worker := range 2 {
			all.Go(func() {
				for seed := worker; seed < n && !t.Failed(); seed += 2 {
					rng := rand.New(rand.NewPCG(uint64(seed), 3))
					s := w.was.clone()
					for range 1 + rng.IntN(4) {
						garble(rng, s)
					}
					log, err := s.tell(t.Context())
					if err != nil {
						continue
					}
					found, err := attack(t, fmt.Sprint(name, " ", seed), w.def(), s, log)
					mu.Lock()
					told++
					if err != nil {
						refused++
					} else if found.Total > 0 || len(found.Skipped) > 0 {
						differed++
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		t.Logf("%s: %d stories told, %d differ, %d refused", name, told, differed, refused)
		// About half of them differ; where two rows were exchanged that say the same, none can be seen.
		if told < n/3 || differed < told/4 {
			t.Errorf("%s: %d of %d stories could be told, %d differ", name, told, n, differed)
		}
	}
}

var errHangs = errors.New("it hangs")

func attack(t *testing.T, name string, def *weir.Definition, s *story, log *memory.Log) (found *verify.Report, err error) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errHangs)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			buf := make([]byte, 1<<16)
			t.Errorf("%s: panic: %v\n%s", name, v, buf[:runtime.Stack(buf, false)])
			err = errors.New("panic")
		}
	}()
	hangs := func(what string, err error) {
		if errors.Is(err, errHangs) {
			t.Errorf("%s: %s hangs", name, what)
		}
	}
	flow, err := def.Plan()
	if err != nil {
		t.Error(err)
		return nil, err
	}
	found, err = verify.Run(ctx, verify.Config{Flow: flow, Log: log, Upto: log.Head()})
	hangs("verify", err)
	if again, err := def.Plan(); err == nil {
		m := s.manifest
		m.Epochs = nil
		_, err := verify.Replay(ctx, verify.ReplayConfig{Flow: again, Log: log, Upto: log.Head(), Out: memory.New(m, memory.Options{})})
		hangs("replay", err)
	}
	r, rerr := history.Of(log)
	if rerr != nil {
		return found, err
	}
	for i, p := range s.spots() {
		if i%17 != 0 {
			continue
		}
		ref, perr := event.ParseRef(fmt.Sprint(p.journal, ":", p.seq))
		if perr != nil {
			continue
		}
		_, werr := r.Why(ctx, ref, history.Limits{})
		hangs("why", werr)
		_, ierr := r.Impact(ctx, ref, history.Limits{})
		hangs("impact", ierr)
	}
	return found, err
}
