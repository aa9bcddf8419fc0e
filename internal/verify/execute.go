package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An execution is one input being executed again, from what is on record. It
// records nothing, waits for nothing, and ends where the code asks for what is not
// on record.
type execution struct {
	s     *stage
	t     *open
	n     int  // facts that it may know of
	ends  bool // it is to come to its end
	quiet bool // its differences are told already

	result  plan.Result
	failure *plan.Failure // it is buried because of it
	came    map[string]bool
	last    uint64 // the newest fact of a step that it came to
	told    bool   // a difference says why it does not come to its end
	astray  bool   // what it emits is told to differ
}

// A panicError is a panic of the user's.
type panicError struct{ text string }

func (e *panicError) Error() string { return e.text }

// finish executes an input with everything that is on record about it. g is its
// dead letter, nil if there is none.
func (s *stage) finish(t *open, g *grave) *execution {
	x := &execution{s: s, t: t, n: len(t.facts), ends: true}
	if t.bad != nil {
		x.failure = unread(t.bad)
		return x
	}
	if g != nil && g.Kind == event.KindTooLarge && g.Reason == journal.ErrTooLarge.Error() {
		x.failure = &plan.Failure{Kind: g.Kind, Err: journal.ErrTooLarge}
		return x
	}
	x.run()
	if panicked := (*panicError)(nil); g != nil && errors.As(x.result.Err, &panicked) {
		x.failure = &plan.Failure{Err: errors.New(string(g.Kind) + ": " + g.Reason), Kind: g.Kind, Panic: true}
	}
	return x
}

// run executes the input. An execution that comes to its end without steps that are
// on record goes on as the code says, once these are told.
func (x *execution) run() {
	x.result = x.once(false)
	if x.result.State != plan.Parked || x.told {
		return
	}
	if len(x.missed()) == 0 {
		return
	}
	x.quiet = true
	x.result = x.once(true)
	told := x.told
	x.quiet = false
	for _, f := range x.missed() { // even though it went on to its compensations
		x.tell(Missing, f, Field{Path: "step", Recorded: strings.TrimSpace(word(f.Type) + " " + f.Effect)})
	}
	x.told, x.quiet = told, true
}

func (x *execution) once(goOn bool) (r plan.Result) {
	defer func() {
		if v := recover(); v != nil {
			r = plan.Result{State: plan.Broken, Err: &panicError{fmt.Sprintf("panic: %v\n%s", v, debug.Stack())}}
		}
	}()
	x.came, x.last = map[string]bool{}, x.first()-1
	return x.s.does.Execute(&shown{x, x.t.entries(x.n, goOn)})
}

// first is where the first fact is, or would be.
func (x *execution) first() uint64 {
	for i := range x.t.facts {
		if seq := x.t.facts[i].seq; seq > 0 {
			return seq
		}
	}
	return x.s.does.heard + 1
}

// missed are the first facts of the steps that are on record and that the code did
// not come to.
func (x *execution) missed() (first []*fact) {
	seen := map[string]bool{}
	for i := range x.t.facts[:x.n] {
		f := &x.t.facts[i]
		switch {
		case f.Type == plan.EntryChange, f.Type == plan.EntryCompleted, f.Type == plan.EntryParked, f.Type == plan.EntryDecision:
		case f.Step == "", strings.HasPrefix(f.Step, ownSteps), x.came[f.Step], seen[f.Step]:
		default:
			seen[f.Step] = true
			first = append(first, f)
		}
	}
	return first
}

// ownSteps begins the names of steps that are not the user's.
const ownSteps = "weir."

// word is a type of entries for people.
func word(typ string) string { return strings.TrimSuffix(strings.TrimPrefix(typ, "weir."), ".v1") }

// tell adds a difference at a fact.
func (x *execution) tell(kind Kind, f *fact, fields ...Field) {
	x.told = true
	if x.quiet || f.given {
		return
	}
	d := x.s.about(x.t, kind, f.seq, f.Step)
	d.Fields, d.LSN = fields, f.lsn
	x.s.add(d)
}

// wants tells that the code asks for what is not on record. That is a difference if
// the input is finished.
func (x *execution) wants(e *plan.Entry) error {
	if x.ends && !x.quiet && !x.told {
		d := x.s.about(x.t, Extra, x.last+1, e.Step)
		text, _ := plan.AppendEntry(nil, e)
		d.Fields = []Field{{Path: word(e.Type), Computed: shorten(string(text))}}
		x.s.add(d)
	}
	x.told = true
	return errUnrecorded
}

var errUnrecorded = errors.New("this is not on record")

// nextEntry is where the entry would be that comes next for an input.
func (s *stage) nextEntry(t *open) uint64 {
	if n := len(t.facts); n > 0 && t.facts[n-1].seq > 0 {
		return t.facts[n-1].seq + 1
	}
	return s.does.heard + 1
}

// shown is an execution as the code sees it.
type shown struct {
	*execution
	past []plan.Entry
}

var _ plan.Execution = (*shown)(nil)

func (x *shown) Context() context.Context { return context.Background() }
func (x *shown) Waiting() context.Context { return context.Background() }
func (x *shown) Input() *plan.Accepted    { return &x.t.in }
func (x *shown) History() []plan.Entry    { return x.past }
func (x *shown) Now() time.Time           { return x.s.p.Time }

// Asked compares; see plan.Execution.
func (x *shown) Asked(e plan.Entry) error { return x.compare(&e) }

// Record takes what the code would record beyond what is on record.
func (x *shown) Record(emit func(), entries ...plan.Entry) error {
	switch {
	case len(entries) > 0 && entries[0].Type == plan.EntryDrift:
		return nil // which compare tells
	case len(entries) > 0:
		return x.wants(&entries[0])
	case emit != nil:
		return x.s.emitFor(x.t, x.n, emit)
	}
	return nil
}

// Durable is asked for before something leaves: nothing does.
func (x *shown) Durable() error {
	x.told = true
	return errOutside
}

// leave emits what follows from an input that is finished. What cannot be computed
// any more is taken as it is recorded.
func (s *stage) leave(x *execution) error {
	t, r := x.t, &x.result
	if s.v.replaying && x.failure == nil && r.State != plan.Finished {
		return fmt.Errorf("what is on record does not finish %s for this code: %w", t.ref(), errors.Join(r.Err, errUnrecorded))
	}
	switch {
	case x.failure != nil:
		return s.buryOpen(t, x.failure)
	case r.State == plan.Finished:
		x.compareEnd()
		if err := s.emitFor(t, x.n, x.rest); err != nil {
			return s.buryOpen(t, &plan.Failure{Err: err, Kind: event.KindOf(err)})
		}
		return nil
	case x.told:
	case r.State == plan.Broken, r.State == plan.Parked:
		s.add(Difference{
			Kind: Refused, Stage: s.name, Journal: t.in.Input.Journal, Seq: t.in.Input.Seq, LSN: s.p.Last, Key: t.in.Key, Input: t.ref(),
			Fields: []Field{{Path: "execution", Recorded: "finished it", Computed: r.Err.Error()}},
		})
	default:
		d := s.about(t, Changed, s.nextEntry(t), r.Wake.Step)
		d.Fields = []Field{{Path: "end", Recorded: "the input is finished", Computed: "it is not finished by what is on record"}}
		s.add(d)
	}
	for _, p := range s.all() {
		s.does.asIs[outlet{p.Name, t.origin()}] = true
	}
	s.does.keys[t.in.KeyText()] = true
	return nil
}

// rest writes what an input emits with its end.
func (x *execution) rest() {
	r := &x.result
	if len(r.Emissions) == 0 {
		if r.Emit != nil {
			r.Emit()
		}
		return
	}
	if !x.astray {
		for _, write := range r.Emissions[min(x.t.out, len(r.Emissions)):] {
			write()
		}
	}
	if r.Closing != nil {
		r.Closing()
	}
}

// emitFor has fn write what follows from an input and the first n facts about it.
// If something cannot be written nothing is.
func (s *stage) emitFor(t *open, n int, fn func()) error {
	turn := s.node.Turn
	turn.Base, turn.Item, turn.From = 0, -1, t.because(s.fxName(), n)
	defer func() { turn.From, turn.Err = nil, nil }()
	all := s.all()
	marks := make([]int, len(all))
	for i, p := range all {
		marks[i] = p.Writer.Len()
	}
	fn()
	var err error
	for _, p := range all {
		err = errors.Join(err, p.Writer.Err())
	}
	if err != nil {
		for i, p := range all {
			p.Writer.Rollback(marks[i])
		}
	}
	return err
}

func (s *stage) buryOpen(t *open, f *plan.Failure) error {
	if err := s.emitFor(t, len(t.facts), func() { s.does.Bury(&t.in, f) }); err != nil {
		return givenError{fmt.Sprintf("the dead letter for %s cannot be written: %v", t.ref(), err)}
	}
	return nil
}

// emittedBefore takes what inputs that go on emit in the transition: it is handed on
// as it is recorded, and compared when they end.
func (s *stage) emittedBefore(given bool) {
	w := s.does
	have, want := map[*open]int{}, map[*open]int{}
	var order []*open
	for i := range w.said {
		if t := w.said[i].t; t != nil && !w.going[t.in.ID] {
			want[t] += w.said[i].what().Emitted
			if !slices.Contains(order, t) {
				order = append(order, t)
			}
		}
	}
	for _, p := range s.all() {
		for _, it := range s.recordedItems(p) {
			t := w.origin[it.from]
			if t == nil || w.going[t.in.ID] {
				continue
			}
			w.asIs[outlet{p.Name, it.from}] = true
			if have[t]++; !slices.Contains(order, t) {
				order = append(order, t)
			}
			if want := causesText(t.because(s.fxName(), len(t.facts))); !given && it.causes != want {
				d := s.differs(p.journal, it.seq, "causes", it.causes, want)
				d.Input = t.ref()
				s.add(d)
			}
			it.causes, it.lsn, it.given = "", s.p.Last, given
			t.emitted = append(t.emitted, emitted{p, it})
			t.out++
		}
	}
	for _, t := range order {
		if have[t] == want[t] || given {
			continue
		}
		d := s.about(t, Inconsistent, s.nextEntry(t)-1, "")
		d.Fields = []Field{{Path: "emitted", Recorded: strconv.Itoa(want[t]), Computed: strconv.Itoa(have[t])}}
		s.add(d)
	}
}

// recordedItems are the records of a port in the transition in hand. What cannot be
// read is left out, and shows where the port is compared.
func (s *stage) recordedItems(p *port) (all []item) {
	for i := range s.p.Outputs {
		if o := &s.p.Outputs[i]; o.Port == p.Name {
			items, _ := itemsOf(o)
			all = append(all, items...)
		}
	}
	return all
}

// compareEmitted compares all that an input emitted, if some of it came before its
// end. The writers are empty, before and after.
func (s *stage) compareEmitted(x *execution) error {
	t := x.t
	if len(t.emitted) == 0 || x.failure != nil || s.v.replaying {
		return nil
	}
	err := s.emitFor(t, x.n, func() {
		for _, write := range x.result.Emissions {
			write()
		}
	})
	if err != nil {
		return nil //nolint:nilerr // leave meets it again
	}
	finished := x.result.State == plan.Finished
	for _, p := range s.ports {
		var now []item
		if p.Writer.Len() > 0 {
			out, _ := p.Writer.Seal(1, 0)
			out.Type = p.Type
			if now, err = itemsOf(&out); err != nil {
				return err
			}
		}
		var was []item
		for i := range t.emitted {
			if e := &t.emitted[i]; e.port == p {
				was = append(was, e.item)
			}
		}
		switch {
		case len(was)+len(now) == 0:
			continue
		case !finished:
			was = was[:min(len(was), len(now))] // it came no further
		default:
			for _, it := range s.recordedItems(p) {
				if it.from == t.origin() && s.does.going[t.in.ID] {
					it.causes, it.lsn = "", s.p.Last
					was = append(was, it)
				}
			}
		}
		for i := range now {
			now[i].causes = ""
		}
		pairs := align(was, now)
		for n := len(pairs); !finished && n > 0 && pairs[n-1].was == nil; n-- {
			pairs = pairs[:n-1] // not recorded yet
		}
		next := p.count + 1
		if len(was) > 0 {
			next = was[0].seq
		}
		if !s.comparePairs(p, pairs, next, t) {
			x.astray = true
			s.does.asIs[outlet{p.Name, t.origin()}] = true
		}
	}
	return nil
}

// atRest executes what is still open when the run, or what is verified of it, ends.
func (s *stage) atRest() error {
	if s.does == nil || s.p == nil || s.v.replaying {
		return nil
	}
	short := false
	for _, id := range slices.Sorted(maps.Keys(s.does.tasks)) {
		t := s.does.tasks[id]
		if len(t.facts) == 0 || !slices.ContainsFunc(t.facts, func(f fact) bool { return !f.given }) {
			continue
		}
		x := &execution{s: s, t: t, n: len(t.facts)}
		x.run()
		if err := s.compareEmitted(x); err != nil {
			return err
		}
		for _, f := range x.missed() {
			short = short || !f.given && x.result.State != plan.Finished
		}
	}
	if short {
		s.skip("an unfinished input asks for what is not on record before it comes to steps that are")
	}
	return nil
}
