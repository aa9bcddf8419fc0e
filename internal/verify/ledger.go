package verify

import (
	"fmt"
	"strconv"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A ledger follows what every journal holds and what every stage has consumed, in
// the order of the log, and notices what contradicts it: so nothing is waited for
// that was never written.
type ledger struct {
	written map[string]total     // by journal
	cursors map[[2]string]uint64 // the last sequence consumed, by stage and journal

	redefined []*journal.Epoch // with another definition, and not entered yet
}

type total struct{ count, digest uint64 }

func newLedger(m journal.Manifest) *ledger {
	l := &ledger{written: map[string]total{}, cursors: map[[2]string]uint64{}}
	for e := range m.Redefinitions() {
		l.redefined = append(l.redefined, e)
	}
	return l
}

// take adds a transition and returns in what it contradicts those before it.
func (l *ledger) take(p *journal.Placed) (wrong []Difference) {
	report := func(name string, seq uint64, field, recorded, computed string) {
		wrong = append(wrong, Difference{
			Kind: Inconsistent, Stage: p.Stage, Journal: name, Seq: seq, LSN: p.Last,
			Fields: []Field{{Path: field, Recorded: recorded, Computed: computed}},
		})
	}
	for len(l.redefined) > 0 && l.redefined[0].Number <= p.Epoch {
		l.redefined[0].Redefined.Move(l.cursors)
		l.redefined = l.redefined[1:]
	}
	for i := range p.Consumed {
		c := &p.Consumed[i]
		at := [2]string{p.Stage, c.Journal}
		switch c.Kind {
		case journal.Run:
			if next := l.cursors[at] + 1; c.From != next {
				report(c.Journal, c.From, "consumed", fmt.Sprintf("records %d to %d", c.From, c.To), fmt.Sprintf("records from %d on", next))
			}
			if have := l.written[c.Journal].count; c.To > have {
				report(c.Journal, c.To, "consumed", fmt.Sprintf("records %d to %d", c.From, c.To), fmt.Sprintf("%d records are written", have))
			}
			l.cursors[at] = c.To
		case journal.Ended:
			if have := l.written[c.Journal].count; c.End == journal.Natural && l.cursors[at] != have {
				report(c.Journal, l.cursors[at]+1, "consumed", fmt.Sprintf("the end after %d records", l.cursors[at]), fmt.Sprintf("the end after %d records", have))
			}
		default:
		}
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		name := p.Stage + "." + o.Port
		if next := l.written[name].count + 1; o.First != next {
			report(name, o.First, "sequence", strconv.FormatUint(o.First, 10), strconv.FormatUint(next, 10))
		}
		if o.Port == journal.PortFx && o.Type == plan.EntrySignal {
			l.signals(o, report)
		}
		l.written[name] = total{o.First + uint64(o.Count) - 1, o.Digest}
	}
	for _, e := range p.Ends {
		name := p.Stage + "." + e.Port
		t := l.written[name]
		if e.Count != t.count {
			report(name, t.count, "end.count", strconv.FormatUint(e.Count, 10), strconv.FormatUint(t.count, 10))
		}
		if e.Digest != t.digest {
			report(name, t.count, "end.digest", digest(e.Digest), digest(t.digest))
		}
	}
	return wrong
}

// signals looks whether the records that signals were made of are written.
func (l *ledger) signals(o *journal.Output, report func(name string, seq uint64, field, recorded, computed string)) {
	var rec journal.Record
	for rs := journal.NewRecords(o); ; {
		if _, ok := rs.Next(&rec); !ok {
			return
		}
		if at, ok := firstRef(o, &rec); ok && at.Seq > l.written[at.Journal].count {
			report(at.Journal, at.Seq, "signal", "made of record "+strconv.FormatUint(at.Seq, 10), fmt.Sprintf("%d records are written", l.written[at.Journal].count))
		}
	}
}

func digest(d uint64) string { return fmt.Sprintf("%016x", d) }
