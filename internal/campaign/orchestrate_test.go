package campaign_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/policy"
)

// travels is how many inputs the flow of orchestrations has.
const travels = 8

// trip is what an orchestration says of an input.
type trip struct {
	Input  int    `json:"input"`
	Step   string `json:"step"`
	Number string `json:"number,omitempty"` // captured: another process would draw another
	Count  int    `json:"count,omitempty"`  // of the key's inputs that came to their end before
}

// guests is the state of a key. It is no type that can be shared.
type guests struct{ Inputs []int }

var (
	ticket = weir.NewSignal[string]("ticket")
	never  = weir.NewSignal[string]("never")
)

// books are where a transactional effect writes.
type books struct {
	p *provider
}

func (b books) Commit(ctx context.Context, key string, fn func(int) ([]byte, error)) error {
	if _, found, _ := b.Lookup(ctx, key); found {
		return errors.New("the key is there")
	}
	outcome, err := fn(0)
	if err != nil {
		return err
	}
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.p.booked[key] = outcome
	if strings.Contains(string(outcome), `"input":7`) {
		return errLost
	}
	return nil
}

func (b books) Lookup(_ context.Context, key string) ([]byte, bool, error) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	data, ok := b.p.booked[key]
	return data, ok, nil
}

// service declares the effects of one stage, with a ledger of their own.
type service struct {
	reserve, release, lookup, charge, note, sign, book effect.Effect[money, receiptOf]
	options                                            []weir.OrchestrateOption
}

func (p *provider) service(stage string) *service {
	calm, moody := moods{loses: 7}, moods{busy: 4, refuses: 5, loses: 7}
	name := func(effect, class string) string {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.classes[stage+"."+effect] = class
		return stage + "." + effect
	}
	var s service
	act := func(effect, class string, m moods) (string, func(context.Context, effect.Call, money) (receiptOf, error)) {
		n := name(effect, class)
		return n, p.serve(n, class == "by_input", m)
	}
	n, do := act("reserve", "by_input", calm)
	s.reserve = effect.KeyedByInput(n, do)
	n, do = act("release", "by_input", moods{})
	s.release = effect.KeyedByInput(n, do)
	n, look := act("lookup", "idempotent", calm)
	s.lookup = effect.Idempotent(n, func(ctx context.Context, m money) (receiptOf, error) {
		return look(ctx, effect.Call{Attempt: 2}, m)
	})
	n, do = act("charge", "at_most_once", moody)
	s.charge = effect.AtMostOnce(n, do, p.ask(n))
	n, do = act("note", "at_least_once", calm)
	s.note = effect.AtLeastOnce(n, do)
	n, do = act("sign", "by_person", calm)
	s.sign = effect.AtMostOnce(n, do, effect.AskAPerson[money, receiptOf])
	n, post := act("book", "transactional", moods{})
	s.book = effect.Transactional(n, books{p: p}, func(ctx context.Context, _ int, m money) (receiptOf, error) {
		return post(ctx, effect.Call{}, m)
	})
	for _, e := range []effect.Effect[money, receiptOf]{s.reserve, s.release, s.lookup, s.charge, s.note, s.sign, s.book} {
		s.options = append(s.options, weir.Using(e, policy.Retry{Max: 3, Delay: time.Microsecond}, policy.Settle(time.Millisecond)))
	}
	s.options = append(s.options, weir.Concurrency(3))
	return &s
}

// travel goes through every kind of step.
func (p *provider) travel(e *service, s *weir.Steps, v int, emit weir.Emit[trip]) error {
	begun := s.Now()
	if weir.Since(s, "begun") {
		emit(trip{Input: v, Step: "begun"})
	}
	r := money{Input: v}
	if _, err := weir.Do(s, "reserve", e.reserve, r); err != nil {
		return err
	}
	weir.Compensate(s, "release", e.release, r)
	number, err := weir.Capture(s, "number", func() (string, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.number++
		return fmt.Sprint("n", p.number), nil
	})
	if err != nil {
		return err
	}
	emit(trip{Input: v, Step: "numbered", Number: number})
	if err := weir.Sleep(s, "pause", time.Millisecond); err != nil {
		return err
	}
	if weir.Since(s, "rested") {
		emit(trip{Input: v, Step: "rested"})
	}
	say, arrived, err := weir.Await(s, ticket, fmt.Sprint("for ", v), 0)
	if err != nil {
		return err
	}
	emit(trip{Input: v, Step: fmt.Sprint(say, arrived)})
	if _, arrived, err = weir.Await(s, never, "nobody", time.Millisecond); err != nil {
		return err
	} else if arrived {
		return errors.New("a signal that nobody sent has come")
	}
	if _, err := weir.Do(s, "lookup", e.lookup, r); err != nil {
		return err
	}
	if _, err := weir.Do(s, "charge", e.charge, r); err != nil {
		return fmt.Errorf("charge: %w", err)
	}
	emit(trip{Input: v, Step: "charged", Number: number})
	if _, err := weir.Do(s, "note", e.note, r); err != nil {
		return err
	}
	if _, err := weir.Do(s, "book", e.book, r); err != nil {
		return err
	}
	if _, err := weir.Do(s, "sign", e.sign, r); err != nil {
		return err
	}
	emit(trip{Input: v, Step: "began", Number: begun.UTC().Format(time.RFC3339Nano)})
	return nil
}

// trips is a flow of orchestrations, with keys and without. A third of their
// signals comes from a source of the flow.
func (p *provider) trips() *weir.Definition {
	return weir.Define("trips", func(f *weir.Flow) {
		var all, third []int
		for v := 1; v <= travels; v++ {
			all = append(all, v)
			if v%3 == 0 {
				third = append(third, v)
			}
		}
		in := weir.From(f, "in", few[int]{all, 3})
		given := weir.From(f, "given", few[int]{third, 2})
		texts := weir.Map(given, "texts", func(v int) (string, error) { return strconv.Itoa(v), nil })
		weir.Signals(weir.KeyBy(texts, func(v string) string { return "for " + v }), "give", ticket)

		e := p.service("plain")
		done, failed := weir.Orchestrate(in, "plain", func(s *weir.Steps, v int, emit weir.Emit[trip]) error {
			if err := p.travel(e, s, v, emit); err != nil {
				return err
			}
			emit(trip{Input: v, Step: "done"})
			return nil
		}, e.options...)
		weir.Each(done, "plain_done", none[trip])
		weir.Each(failed, "plain_failed", none[weir.Failed[int]])

		k := p.service("keyed")
		done, failed = weir.OrchestrateBy(weir.KeyBy(in, func(v int) int { return v % 2 }), "keyed", weir.Zero[int, guests],
			func(s *weir.Steps, g *guests, v int, emit weir.Emit[trip]) error {
				g.Inputs = append(g.Inputs, v)
				if err := p.travel(k, s, v, emit); err != nil {
					return err
				}
				emit(trip{Input: v, Step: "done", Count: len(g.Inputs)})
				return nil
			}, k.options...)
		weir.Each(done, "keyed_done", none[trip])
		weir.Each(failed, "keyed_failed", none[weir.Failed[int]])
	})
}

// sends hands in the signals that do not come from the flow: a third by a message
// from another process, a third by a call in this one, each until it is taken.
func (p *provider) sends(fsys vfs.FS, rng *rand.Rand) func(context.Context, *weir.Run) {
	wait := time.Duration(rng.IntN(5000)) * time.Microsecond
	return func(ctx context.Context, r *weir.Run) {
		for v := 1; v <= travels; v++ {
			key := fmt.Sprint("for ", v)
			p.mu.Lock()
			known := p.handed[key]
			p.mu.Unlock()
			if v%3 == 0 || known {
				continue
			}
			time.Sleep(wait)
			var err error
			if v%3 == 1 {
				m := inbox.Message{At: time.Now().UTC(), By: "somebody", Signal: &inbox.Signal{Name: ticket.Name(), Key: key, Payload: fmt.Appendf(nil, `"%d"`, v)}}
				_, err = inbox.Put(fsys, r.Dir(), m)
			} else {
				err = ticket.Send(ctx, r, key, strconv.Itoa(v))
			}
			if err == nil {
				p.mu.Lock()
				p.handed[key] = true
				p.mu.Unlock()
			}
		}
	}
}

// A process, or the power, dies before every operation that changes the disk of a
// run of orchestrations, and the run goes on.
func TestOrchestrationsCrashEverywhere(t *testing.T) {
	t.Parallel()
	p, disk := newProvider(), vfs.NewMemory()
	world := vfs.NewFaults(disk, nil)
	rng := rand.New(rand.NewPCG(0, 0))
	sum, err := p.runs(t, world, "", p.trips, p.sends(world, rng))
	if err != nil || sum.Status != weir.Stopped || sum.InDoubt == 0 {
		t.Fatalf("the run that nothing happens to: %+v, %v", sum, err)
	}
	for sum.Status == weir.Stopped && sum.Epoch < 20 {
		p.decide(t, world, disk, "trips")
		sum, err = p.runs(t, world, "", p.trips, p.sends(world, rng))
	}
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("once everything is decided: %+v, %v", sum, err)
	}
	want, wrong := p.journey(t, disk, nil)
	if len(wrong) > 0 {
		t.Fatalf("the run that nothing happens to:\n%s", strings.Join(wrong, "\n"))
	}
	ops := world.Count()
	var deaths, again atomic.Int64
	each(t, ops, func(n int) {
		for seed := range 3 {
			if !*everywhere && seed != n/8%3 {
				continue
			}
			p, disk := newProvider(), vfs.NewMemory()
			world := vfs.NewFaults(disk, vfs.StopAt(n))
			rng := rand.New(rand.NewPCG(uint64(n), uint64(seed)))
			sum, err := p.runs(t, world, "", p.trips, p.sends(world, rng))
			var wrong []string
			for session := range 40 {
				switch died := world.Stopped(); {
				case died && seed == 0:
					disk = disk.Kill()
				case died:
					disk = disk.Crash(rng)
				case err == nil && sum.Status == weir.Stopped:
					p.decide(t, world, disk, "trips")
				}
				if !world.Stopped() && (err != nil || sum.Status != weir.Stopped) {
					break
				}
				if world.Stopped() {
					deaths.Add(1)
					stop := func(vfs.Op) vfs.Fault { return vfs.Fault{} }
					if seed == 2 && session < 2 { // and once more, while it goes on
						stop = vfs.StopAt(1 + rng.IntN(ops))
					}
					world = vfs.NewFaults(disk, stop)
				}
				run := ""
				if dir, err := newest(disk, "trips"); err == nil && dir != "" {
					run = path.Base(dir)
				}
				sum, err = p.runs(t, world, run, p.trips, p.sends(world, rng))
				if errors.Is(err, weir.ErrNoRun) { // it was completed, and the process died then
					sum, err = weir.Summary{Status: weir.Completed}, nil
				}
				again.Add(1)
			}
			if err != nil || sum.Status != weir.Completed {
				wrong = append(wrong, fmt.Sprintf("%+v, %v", sum, err))
			} else {
				_, more := p.journey(t, disk, want)
				wrong = append(wrong, more...)
			}
			if len(wrong) > 0 {
				t.Errorf("death before operation %d of %d, seed %d:\n%s", n, ops, seed, strings.Join(wrong, "\n"))
			}
		}
	})
	t.Logf("%d boundaries: %d deaths, %d runs continued", ops, deaths.Load(), again.Load())
}

// varies is what another process captures, and how often it has to try.
var varies = regexp.MustCompile(`"number":"[^"]*"|"attempts":\d+`)

// journey judges a completed run of trips. want is what came out of one that
// nothing happened to.
func (p *provider) journey(t testing.TB, disk *vfs.Memory, want map[string][]string) (got map[string][]string, wrong []string) {
	t.Helper()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	dir, err := newest(disk, "trips")
	if err != nil {
		t.Fatal(err)
	}
	o, err := inspect(t.Context(), disk, dir)
	if err != nil {
		return nil, []string{err.Error()}
	}
	for _, problem := range o.problems {
		bad("check: %s", problem)
	}
	settled, undone, err := entriesOf(disk, dir)
	if err != nil {
		return nil, []string{err.Error()}
	}
	wrong = append(wrong, p.judge(settled, undone)...)
	facts, err := recordOf(disk, dir)
	if err != nil {
		return nil, []string{err.Error()}
	}
	wrong = append(wrong, facts.wrong...)
	got = map[string][]string{}
	for name, payloads := range o.ports {
		for _, text := range payloads {
			var said trip
			if err := json.Unmarshal([]byte(text), &said); err == nil && said.Number != "" {
				stage, _, _ := strings.Cut(name, ".")
				step := map[string]string{"began": "weir.now"}[said.Step]
				if step == "" {
					step = "number"
				}
				if of := facts.captured[fmt.Sprint(stage, " ", said.Input, " ", step)]; of != said.Number {
					bad("%s: %s, and %q is on record", name, text, of)
				}
			}
			got[name] = append(got[name], varies.ReplaceAllString(text, "…"))
		}
		slices.Sort(got[name])
	}
	if want != nil {
		if diff := cmp.Diff(want, got); diff != "" {
			bad("journals (-want +got):\n%s", diff)
		}
	}
	if verifyLater {
		return got, wrong
	}
	v, err := p.trips().Verify(t.Context(), dir, weir.VerifyOptions{Logger: quiet, Harness: &plan.Harness{FS: disk}})
	if err != nil {
		bad("verify: %v", err)
	} else if v.Outcome != weir.Identical {
		bad("verify: %s, %d differences: %+v, skipped %+v", v.Outcome, v.Found, v.Differences, v.Skipped)
	}
	return got, wrong
}

// facts are what a run has on record about its orchestrations.
type facts struct {
	captured map[string]string // by stage, input and step
	wrong    []string
}

// recordOf reads the entries of a run and says what must not be.
func recordOf(fsys vfs.FS, dir string) (f *facts, err error) {
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	in, err := view.Read(0)
	if err != nil {
		return nil, err
	}
	trs := journal.Transitions(in)
	defer func() { err = errors.Join(err, trs.Close()) }()
	f = &facts{captured: map[string]string{}}
	once := map[string]bool{}
	var p journal.Placed
	for trs.Next(&p) == nil {
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if o.Port != journal.PortFx {
				continue
			}
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				e, err := plan.ParseEntry(o.Type, rec.Payload)
				if err != nil {
					return nil, err
				}
				f.take(p.Stage, &rec, &e, once)
			}
		}
	}
	return f, nil
}

func (f *facts) take(stage string, rec *journal.Record, e *plan.Entry, once map[string]bool) {
	input := uint64(0)
	if len(rec.Refs) > 0 {
		input = rec.Refs[0].Seq
	}
	of := fmt.Sprint(stage, " ", input, " ", e.Step)
	unique := ""
	switch e.Type {
	case plan.EntryCapture:
		unique = "captured: " + of
		f.captured[of] = strings.Trim(string(e.Result), `"`)
		if e.Step == "weir.now" {
			f.captured[of] = e.At.UTC().Format(time.RFC3339Nano)
		}
	case plan.EntryWoken:
		unique = "woken: " + of
		if e.ID != "" {
			unique = "woken by: " + stage + " " + e.ID
		}
	case plan.EntrySignal:
		unique = "signal: " + stage + " " + e.ID
	case plan.EntryCompleted:
		unique = "completed: " + of
	case plan.EntryParked:
		if !strings.HasPrefix(e.Reason, `step "sign": in doubt`) {
			f.wrong = append(f.wrong, fmt.Sprintf("parked: %s: %s", of, e.Reason))
		}
	case plan.EntryDrift:
		f.wrong = append(f.wrong, "drift: "+of)
	}
	if unique != "" {
		if once[unique] {
			f.wrong = append(f.wrong, "twice: "+unique)
		}
		once[unique] = true
	}
}

const verifyLater = true
