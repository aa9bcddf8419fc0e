package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// Limits bound an explanation. Zero fields mean the defaults.
type Limits struct {
	Records int // shown in full; zero means 200
	Depth   int // steps from the record asked about; zero means 50
	Chain   int // changes of one key, newest first; zero means 20
	Fan     int // inputs of one journal that a record or change followed from, shown one by one; zero means 3
}

func (l Limits) filled() Limits {
	if l.Records <= 0 {
		l.Records = 200
	}
	if l.Depth <= 0 {
		l.Depth = 50
	}
	if l.Chain <= 0 {
		l.Chain = 20
	}
	if l.Fan <= 0 {
		l.Fan = 3
	}
	return l
}

// An Explanation is a record and what it followed from.
type Explanation struct {
	Record Record    `json:"record"`
	Code   string    `json:"code,omitempty"` // version of the code that wrote it
	Number uint64    `json:"frame"`          // of the transition, among the stage's frames
	Causes []Cause   `json:"causes,omitempty"`
	Calls  []Call    `json:"calls,omitempty"` // what its stage did to the world for it, with attempts and decisions
	Left   string    `json:"left,omitempty"`  // why some of Calls may be left out
	At     time.Time `json:"at"`
}

// The kinds of causes.
const (
	CauseInput    = "input"    // a record
	CausePosition = "position" // what a source read, up to this position
	CauseState    = "state"    // a change of the stage's state
	CauseTimer    = "timer"    // a timer was due
	CauseSignal   = "signal"   // a signal came, made of the record Ref if there is one
	CauseDecision = "decision" // a person decided
	CauseEnd      = "end"      // an input ended
	CauseMark     = "watermark"
	CauseResumed  = "resumed" // an epoch began
)

// A Cause is one thing that a record followed from.
type Cause struct {
	Kind   string       `json:"kind"`
	Ref    *event.Ref   `json:"ref,omitempty"`    // input, signal
	Run    string       `json:"run,omitempty"`    // input: the run that has it, if that is another one
	To     uint64       `json:"to,omitempty"`     // input: the last of several that begin with Ref and were left out
	Input  *Explanation `json:"input,omitempty"`  // input, unless left out
	Left   string       `json:"left,omitempty"`   // why Input, or the rest of a chain, was left out
	Value  string       `json:"value,omitempty"`  // position, or the id of a timer, signal or decision
	Part   string       `json:"part,omitempty"`   // of the position
	Change *Change      `json:"change,omitempty"` // state
}

// A Change is a change of one key of a stage's state.
type Change struct {
	Table   string      `json:"table"`
	Key     string      `json:"key"`
	LSN     journal.LSN `json:"lsn"`
	At      time.Time   `json:"at"`
	After   string      `json:"after,omitempty"`
	Deleted bool        `json:"deleted,omitempty"`
	Later   int         `json:"later,omitempty"` // inputs that After has taken in and what follows from the change had not
	Causes  []Cause     `json:"causes,omitempty"`
	Before  *Change     `json:"before,omitempty"` // the change before it
	Left    string      `json:"left,omitempty"`   // why Before was left out
}

// Why returns what the record that ref names followed from, back to the sources; in
// a run that redrives letters of another one on through that, if it is in the same
// directory. A ref may leave out the port; see [Run.Journal]. The error is a
// [*NotFoundError] if there is no such record.
func (r *Run) Why(ctx context.Context, ref event.Ref, limits Limits) (_ *Explanation, err error) {
	state, err := r.state()
	if err != nil {
		return nil, err
	}
	name, err := r.journalIn(state, ref.Journal())
	if err != nil {
		return nil, err
	}
	w := &tracer{run: r, ctx: ctx, limits: limits.filled(), seen: map[seen]bool{}, others: map[string]*tracer{}, state: state}
	defer func() { err = errors.Join(err, w.close()) }()
	stage, port := split(name)
	return w.explain(event.Ref{Stage: stage, Port: port, Seq: ref.Seq}, 0)
}

// A tracer walks causes.
type tracer struct {
	run    *Run
	ctx    context.Context //nolint:containedctx // of one call of Why or Impact, which the tracer does not outlive
	limits Limits
	seen   map[seen]bool      // shared with others
	others map[string]*tracer // of other runs, by their ids; shared with them
	state  *recovery.State
	keys   map[string]*keyed // by stage; loaded when a chain cannot be found otherwise
}

// seen is a record that was explained.
type seen struct {
	run string
	ref event.Ref
}

func (w *tracer) id(ref event.Ref) seen { return seen{w.run.manifest.Run, ref} }

// place is where a record was found; its memory is the tracer's own.
func (w *tracer) place(ref event.Ref) (*journal.Placed, *journal.Record, *journal.Output, error) {
	name := ref.Journal()
	var at journal.LSN
	err := w.run.each(w.ctx, name, ref.Seq, ref.Seq, func(e entry) bool {
		at = e.p.Last
		return false
	})
	if err == nil && at == 0 {
		err = w.run.missing(w.state, ref)
	}
	if err != nil {
		return nil, nil, nil, trimmedRef(ref, err)
	}
	p, err := journal.TransitionAt(w.run.log, at)
	if err != nil {
		return nil, nil, nil, trimmedRef(ref, err)
	}
	var (
		rec *journal.Record
		out *journal.Output
	)
	_, err = within(p, name, ref.Port, ref.Seq, ref.Seq, func(e entry) bool {
		rec, out = e.rec, e.out
		return false
	})
	if err == nil && rec == nil {
		err = fmt.Errorf("%s is in frame %d for the index and not in it", ref, at)
	}
	return p, rec, out, err
}

func trimmedRef(ref event.Ref, err error) error {
	if _, ok := errors.AsType[*NotFoundError](err); ok {
		return err
	}
	return trimmed(ref.String(), err)
}

// missing says that there is no such record, and what there is.
func (r *Run) missing(state *recovery.State, ref event.Ref) error {
	var n uint64
	if s := state.Stages[ref.Stage]; s != nil {
		n = s.Ports[ref.Port].Count
	}
	first := uint64(1)
	if r.manifest.Kept != nil {
		first = max(first, r.manifest.Kept.Journals[ref.Journal()])
	}
	e := &NotFoundError{What: ref.String(), Why: "there is no such record", Have: []string{fmt.Sprintf("%s:%d to %d", ref.Journal(), first, n)}}
	if n == 0 {
		e.Have = []string{"nothing in " + ref.Journal()}
	}
	return e
}

func (w *tracer) explain(ref event.Ref, depth int) (*Explanation, error) {
	w.seen[w.id(ref)] = true
	p, rec, out, err := w.place(ref)
	if err != nil {
		return nil, err
	}
	x := &Explanation{
		Record: w.run.record(entry{seq: ref.Seq, rec: rec, out: out, p: p, name: ref.Journal()}),
		Code:   w.run.code(p), Number: p.Number, At: p.Time,
	}
	items := append([]int(nil), rec.Items...)
	if x.Causes, err = w.items(p, items, depth); err != nil {
		return nil, err
	}
	refs := inputs{tracer: w, depth: depth}
	facts := facts{tracer: w, stage: p.Stage}
	for _, ref := range rec.Refs {
		if ref.Journal >= len(out.Journals) {
			return nil, &journal.FrameError{LSN: p.Last, Err: fmt.Errorf("%s follows from journal %d of %d", x.Record.Ref, ref.Journal, len(out.Journals))}
		}
		name := out.Journals[ref.Journal]
		if f, ok := journal.ParseForeign(name); ok {
			if err := refs.foreign(f, ref.Seq); err != nil {
				return nil, err
			}
			continue
		}
		if name == p.Stage+"."+journal.PortFx {
			facts.seqs = append(facts.seqs, ref.Seq)
			continue
		}
		facts.inputs = append(facts.inputs, refOf(name, ref.Seq))
		if err := refs.add(name, ref.Seq); err != nil {
			return nil, err
		}
	}
	if x.Calls, x.Left, err = facts.calls(); err != nil {
		return nil, err
	}
	for i := range x.Calls {
		if err := refs.signal(&x.Calls[i]); err != nil {
			return nil, err
		}
	}
	x.Causes = append(x.Causes, refs.causes()...)
	more, err := w.special(p, x, rec, out, items, depth)
	x.Causes = append(x.Causes, more...)
	return x, err
}

// special adds the causes that a record does not list as items: a source's
// position, the inputs of a receipt, state.
func (w *tracer) special(p *journal.Placed, x *Explanation, rec *journal.Record, out *journal.Output, items []int, depth int) (causes []Cause, err error) {
	if out.Type == evidence.TypeReceipt {
		rc, err := evidence.Parse[evidence.Receipt](rec.Payload)
		if err != nil {
			return nil, &journal.FrameError{LSN: p.Last, Err: err}
		}
		if len(x.Causes) == 0 && rc.From > 0 {
			list := inputs{tracer: w, depth: depth}
			for seq := rc.From; seq <= rc.To && seq-rc.From <= uint64(w.limits.Fan); seq++ {
				if err := list.add(rc.Journal, seq); err != nil {
					return nil, err
				}
			}
			list.upTo(rc.To)
			return list.causes(), nil
		}
		return nil, nil
	}
	if p.Position != nil && len(x.Causes) == 0 {
		causes = append(causes, Cause{Kind: CausePosition, Value: p.Position.Value, Part: p.Position.Part})
	}
	more, err := w.states(p, rec, out, items, depth)
	return append(causes, more...), err
}

// changesOf calls fn with every change of state in p, until fn fails. A change is
// valid until fn returns.
func changesOf(p *journal.Placed, fn func(table string, c *journal.Change) error) error {
	var c journal.Change
	for i := range p.State {
		cs := journal.NewChanges(&p.State[i])
		for cs.Next(&c) {
			if err := fn(p.State[i].Table, &c); err != nil {
				return err
			}
		}
		if err := cs.Err(); err != nil {
			return &journal.FrameError{LSN: p.Last, Err: err}
		}
	}
	return nil
}

// items turns indexes among what p consumed into causes.
func (w *tracer) items(p *journal.Placed, items []int, depth int) ([]Cause, error) {
	list := inputs{tracer: w, depth: depth}
	for _, item := range items {
		c, offset, ok := consumedAt(p, item)
		if !ok {
			return nil, &journal.FrameError{LSN: p.Last, Err: fmt.Errorf("a record follows from item %d, beyond what was consumed", item)}
		}
		switch c.Kind {
		case journal.Run:
			if err := list.add(c.Journal, c.From+offset); err != nil {
				return nil, err
			}
		case journal.Mark:
			list.other(CauseMark, c.Journal+" reached "+time.Unix(0, c.Time).UTC().Format(time.RFC3339Nano))
		case journal.Ended:
			list.other(CauseEnd, c.Journal)
		case journal.TimerDue:
			list.other(CauseTimer, c.ID)
		case journal.Signalled:
			list.other(CauseSignal, strings.TrimPrefix(c.ID, journal.FromInbox))
		case journal.Decided:
			list.other(CauseDecision, strings.TrimPrefix(c.ID, journal.FromInbox))
		case journal.Resumed:
			list.other(CauseResumed, fmt.Sprint("epoch ", p.Epoch))
		}
	}
	return list.causes(), nil
}

// consumedAt finds item i among what p consumed, and its place within a run.
func consumedAt(p *journal.Placed, i int) (c *journal.Consumed, offset uint64, ok bool) {
	left := uint64(i)
	for k := range p.Consumed {
		c := &p.Consumed[k]
		n := c.Items()
		if left < n {
			return c, left, true
		}
		left -= n
	}
	return nil, 0, false
}

// inputs collects causes: of each journal some inputs, explained in turn, and one
// cause for those beyond the limit.
type inputs struct {
	*tracer
	depth  int
	shown  []Cause
	of     []journalInputs
	abroad bool // one of another run was added
}

type journalInputs struct {
	name        string
	n           int
	first, last uint64 // of those beyond the limit
}

func (l *inputs) add(name string, seq uint64) error {
	i := slices.IndexFunc(l.of, func(j journalInputs) bool { return j.name == name })
	if i < 0 {
		i = len(l.of)
		l.of = append(l.of, journalInputs{name: name})
	}
	j := &l.of[i]
	j.n++
	if j.n > l.limits.Fan {
		if j.first == 0 {
			j.first = seq
		}
		j.last = seq
		return nil
	}
	stage, port := split(name)
	c, err := l.input(event.Ref{Stage: stage, Port: port, Seq: seq}, l.depth)
	l.shown = append(l.shown, c)
	return err
}

// upTo adds the inputs that follow those added last, up to sequence to.
func (l *inputs) upTo(to uint64) {
	if n := len(l.of); n > 0 && l.of[n-1].first != 0 && to > l.of[n-1].last {
		j := &l.of[n-1]
		j.n += int(min(to-j.last, math.MaxInt32))
		j.last = to
	}
}

// signal adds the record that a signal was made of for which a call waited.
func (l *inputs) signal(c *Call) error {
	if c.From == nil {
		return nil
	}
	cause, err := l.input(*c.From, l.depth)
	cause.Kind, cause.Value = CauseSignal, strings.TrimSpace(c.Signal+" "+c.Key)
	l.shown = append(l.shown, cause)
	return err
}

func (l *inputs) other(kind, value string) {
	l.shown = append(l.shown, Cause{Kind: kind, Value: value})
}

func (l *inputs) causes() []Cause {
	for _, j := range l.of {
		if left := j.n - l.limits.Fan; left > 0 {
			stage, port := split(j.name)
			l.shown = append(l.shown, Cause{
				Kind: CauseInput, Ref: &event.Ref{Stage: stage, Port: port, Seq: j.first}, To: j.last, Left: fmt.Sprintf("%d more", left),
			})
		}
	}
	return l.shown
}

func (w *tracer) input(ref event.Ref, depth int) (Cause, error) {
	c := Cause{Kind: CauseInput, Ref: &ref}
	switch {
	case w.seen[w.id(ref)]:
		c.Left = "shown above"
	case depth+1 >= w.limits.Depth, len(w.seen) >= w.limits.Records:
		c.Left = "beyond the limit"
	default:
		x, err := w.explain(ref, depth+1)
		if gone, ok := errors.AsType[*NotFoundError](err); ok {
			c.Left = gone.Why
			return c, nil
		}
		c.Input = x
		return c, err
	}
	return c, nil
}
