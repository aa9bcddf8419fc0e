package verify

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// A numbering says, for one journal, which recorded sequence is which of the
// replay: other code may write more or less than was recorded.
type numbering struct {
	recorded []uint64 // last sequence of each transition, ascending
	replayed []uint64 // and of what was made of it
}

// number notes that a transition wrote up to recorded in the record, and to what
// has been written to the port now.
func (w *pen) number(port string, recorded uint64) {
	n := w.numbers[port]
	if n == nil {
		n = &numbering{}
		w.numbers[port] = n
	}
	now := w.total(port).count
	k := len(n.recorded)
	if k > 0 && n.even(k-1, n.recorded[k-1], n.replayed[k-1]) && n.even(k, recorded, now) {
		n.recorded, n.replayed = n.recorded[:k-1], n.replayed[:k-1] // it goes on as it was
	}
	n.recorded, n.replayed = append(n.recorded, recorded), append(n.replayed, now)
}

// even reports whether entry k holds as many records in the replay as in the record.
func (n *numbering) even(k int, recorded, replayed uint64) bool {
	if k == 0 {
		return recorded == replayed
	}
	return recorded-n.recorded[k-1] == replayed-n.replayed[k-1]
}

// of returns how far a reader is to read that had read up to seq.
func (n *numbering) of(seq uint64) uint64 {
	if n == nil {
		return 0
	}
	i := sort.Search(len(n.recorded), func(i int) bool { return n.recorded[i] >= seq })
	if i == len(n.recorded) {
		return n.replayed[i-1]
	}
	was, now := uint64(0), uint64(0)
	if i > 0 {
		was, now = n.recorded[i-1], n.replayed[i-1]
	}
	if seq == n.recorded[i] {
		return n.replayed[i]
	}
	return min(now+seq-was, n.replayed[i])
}

// recordedCounts is up to where a transition wrote, by port.
func recordedCounts(p *journal.Placed) map[string]uint64 {
	counts := map[string]uint64{}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		counts[o.Port] = o.First + uint64(o.Count) - 1
	}
	return counts
}

// renumber brings what a recorded transition consumed into the numbers of the
// replay.
func (r *replay) renumber(s *stage, p *journal.Placed) error {
	same := true
	for i := range p.Consumed {
		c := &p.Consumed[i]
		if c.Kind != journal.Run {
			continue
		}
		e := s.input(c.Journal)
		if e == nil {
			return fmt.Errorf("the stage does not read %s any more", c.Journal)
		}
		dot := strings.LastIndexByte(c.Journal, '.')
		from, to := e.cursor+1, r.pens[e.from].numbers[c.Journal[dot+1:]].of(c.To)
		same = same && from == c.From && to == c.To
		c.From, c.To = from, max(to, from-1)
		e.cursor = c.To
	}
	for i := range p.Consumed {
		c := &p.Consumed[i]
		if e := s.input(c.Journal); c.Kind == journal.Ended && c.End == journal.Natural && e != nil {
			dot := strings.LastIndexByte(c.Journal, '.')
			if have := r.pens[e.from].total(c.Journal[dot+1:]).count; e.cursor < have { // there is more than was recorded
				p.Consumed = slices.Insert(p.Consumed, i, journal.Consumed{Kind: journal.Run, Journal: c.Journal, From: e.cursor + 1, To: have})
				e.cursor = have
				same = false
				break
			}
		}
	}
	p.Consumed = slices.DeleteFunc(p.Consumed, func(c journal.Consumed) bool {
		return c.Kind == journal.Run && c.To < c.From || c.Kind == journal.Ended && c.End != journal.Natural
	})
	if s.node.Sink != nil {
		r.receipts(s, p, same)
	} else if s.does != nil && !same {
		return fmt.Errorf("%s reads other records than were recorded; what was not asked then has no outcome to replay", s.name)
	}
	return nil
}

// receipts counts the deliveries of a sink's transition. One that does not consume
// what was recorded gets receipts of its own: nothing is delivered.
func (r *replay) receipts(s *stage, p *journal.Placed, same bool) {
	if !same {
		p.Outputs = slices.DeleteFunc(p.Outputs, func(o journal.Output) bool {
			return o.Port == evidence.Receipts || o.Port == journal.PortDead
		})
		for _, c := range p.Consumed {
			if c.Kind != journal.Run {
				continue
			}
			payload := evidence.Append(nil, evidence.Receipt{Status: "success", Journal: c.Journal, From: c.From, To: c.To})
			records, _ := journal.AppendRecord(nil, -1, &journal.Record{Payload: payload})
			p.Outputs = append(p.Outputs, journal.Output{Port: evidence.Receipts, Type: evidence.TypeReceipt, First: 1, Count: 1, Records: records})
		}
	}
	for _, c := range p.Consumed {
		if c.Kind == journal.Run {
			r.out += c.To - c.From + 1
		}
	}
	for i := range p.Outputs {
		if o := &p.Outputs[i]; s.dead != nil && o.Port == s.dead.Name {
			r.out -= uint64(o.Count)
		}
	}
}
