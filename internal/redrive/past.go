package redrive

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A past is what is on record in the origin about the calls of letters' inputs. It
// is a plan.Resource: opened when it is first asked, closed when the run ends.
type past struct {
	again  *journal.Redrive
	open   Opener
	effect *plan.Effect

	mu    sync.Mutex // one reads at a time
	o     *Origin
	done  func() error
	facts *Facts
}

func (p *past) Name() string { return Stage }

// of returns what the execution of an input that entered goes on from; see
// plan.Performing.
func (p *past) of(_ context.Context, in *plan.Accepted) ([]plan.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.begin(); err != nil {
		return nil, err
	}
	name, seq, ok := p.again.Nth(in.Input.Seq)
	if !ok {
		return nil, fmt.Errorf("%s:%d is none of the letters that this run takes", in.Input.Journal, in.Input.Seq)
	}
	decided := plan.Entry{By: Stage, Reason: fmt.Sprintf("%s:%d of run %s", name, seq, p.again.Run), At: time.Now().UTC()} //nolint:forbidigo // the edge: what is decided now
	letter, err := p.o.letter(name, seq)
	if err != nil {
		return nil, err
	}
	history, data, err := p.facts.About(letter.Input)
	if err != nil {
		return nil, err
	}
	return perform.Again("", history, data, p.effect.Safety, decided), nil
}

func (p *past) begin() (err error) {
	if p.facts != nil {
		return nil
	}
	if p.o == nil {
		if p.o, p.done, err = p.open(); err != nil {
			return err
		}
	}
	p.facts, err = p.o.Facts(p.again.Stage, p.again.Taken)
	return err
}

func (p *past) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.o == nil {
		return nil
	}
	p.o, p.facts = nil, nil
	return p.done()
}

// letter returns one letter.
func (o *Origin) letter(name string, seq uint64) (found *Letter, err error) {
	err = o.Letters(name, seq, seq, func(l *Letter) error {
		found = l
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%s:%d: %w", name, seq, ErrGone)
	}
	return found, err
}

// Facts are where the log of the origin says something about the calls of the inputs
// of some letters.
type Facts struct {
	o     *Origin
	stage string
	at    map[event.Ref][]journal.LSN // by input
}

// Facts finds what is on record about the inputs of letters of a stage.
func (o *Origin) Facts(stage string, of []journal.Letters) (*Facts, error) {
	f := &Facts{o: o, stage: stage, at: map[event.Ref][]journal.LSN{}}
	last := journal.LSN(0)
	for _, l := range of {
		err := o.Letters(l.Journal, l.From, l.To, func(letter *Letter) error {
			f.at[letter.Input], last = nil, max(last, letter.LSN)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	// An input is spoken of after it was written, and not after it was given up.
	first := last
	for ref := range f.at {
		at, err := o.log.Find(ref.Journal(), ref.Seq)
		if err != nil {
			return nil, fmt.Errorf("find %s in run %s: %w", ref, o.run, err)
		}
		first = min(first, max(at, 1))
	}
	if len(f.at) == 0 {
		return f, nil
	}
	err := o.transitions(first, func(p *journal.Placed) (bool, error) {
		if p.Stage != stage {
			return p.Last < last, nil
		}
		return p.Last < last, spoken(p, func(ref event.Ref, _ *plan.Entry, _ []byte) error {
			lsns, wanted := f.at[ref]
			if n := len(lsns); wanted && (n == 0 || lsns[n-1] != p.Last) {
				f.at[ref] = append(lsns, p.Last)
			}
			return nil
		})
	})
	return f, err
}

// About returns what is on record about an input, and what was accepted.
func (f *Facts) About(input event.Ref) (history []plan.Entry, data []byte, err error) {
	for _, lsn := range f.at[input] {
		p, err := journal.TransitionAt(f.o.log, lsn)
		if err != nil {
			return nil, nil, fmt.Errorf("run %s: %w", f.o.run, err)
		}
		err = spoken(p, func(ref event.Ref, e *plan.Entry, accepted []byte) error {
			switch {
			case ref != input:
			case e != nil:
				history = append(history, *e)
			default:
				data = accepted
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return history, data, nil
}

// spoken calls fn with what a transition says about the calls of inputs: an entry,
// or what was accepted.
func spoken(p *journal.Placed, fn func(input event.Ref, e *plan.Entry, accepted []byte) error) error {
	for i := range p.Open {
		w := &p.Open[i]
		if w.Op != journal.OpenAdd {
			continue
		}
		if err := fn(refOf(w.Journal, w.Seq), nil, w.Data); err != nil {
			return err
		}
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port != journal.PortFx {
			continue
		}
		var rec journal.Record
		rs := journal.NewRecords(o)
		for {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			if len(rec.Refs) == 0 || rec.Refs[0].Journal >= len(o.Journals) {
				continue
			}
			e, err := plan.ParseEntry(o.Type, append([]byte(nil), rec.Payload...))
			if err != nil {
				return fmt.Errorf("%s.%s:%d: %w", p.Stage, o.Port, seq, err)
			}
			if err := fn(refOf(o.Journals[rec.Refs[0].Journal], rec.Refs[0].Seq), &e, nil); err != nil {
				return err
			}
		}
		if err := rs.Err(); err != nil {
			return err
		}
	}
	return nil
}

func refOf(name string, seq uint64) event.Ref {
	stage, port := splitJournal(name)
	return event.Ref{Stage: stage, Port: port, Seq: seq}
}

var _ plan.Resource = (*past)(nil)
