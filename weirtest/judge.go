package weirtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// judge says what is wrong with the run, given the one that nothing happened to.
func (c *campaign) judge(calm *campaign) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, p := range c.check {
		bad("check: %s", p)
	}
	for _, d := range c.same.Differences {
		bad("verify: %s:%d is otherwise when it is computed again: %+v", d.Journal, d.Seq, d.Fields)
	}
	c.journals(calm, bad)
	c.calls(calm, bad)
	c.deliveries(bad)
	if s := c.sum; s.Status != "" && (s.Status != calm.sum.Status || s.InDoubt != calm.sum.InDoubt || s.In != calm.sum.In || s.Out != calm.sum.Out || s.Dead != calm.sum.Dead) {
		bad("the run ended %s with %d in, %d out, %d dead, %d in doubt; want %s with %d, %d, %d, %d", s.Status, s.In, s.Out, s.Dead, s.InDoubt,
			calm.sum.Status, calm.sum.In, calm.sum.Out, calm.sum.Dead, calm.sum.InDoubt)
	}
	return wrong
}

// journals compares what ports hold, in whatever order.
func (c *campaign) journals(calm *campaign, bad func(string, ...any)) {
	want, got := calm.left.sorted(), c.left.sorted()
	for _, name := range slices.Sorted(maps.Keys(merged(want, got))) {
		parted := func(a, b []string) (only []string) {
			for _, p := range a {
				if i := slices.Index(b, p); i >= 0 {
					b = slices.Delete(slices.Clone(b), i, i+1)
				} else {
					only = append(only, p)
				}
			}
			return only
		}
		if missing, extra := parted(want[name], got[name]), parted(got[name], want[name]); len(missing)+len(extra) > 0 {
			bad("%s lacks %d payloads %s, and has %d that it should not %s", name, len(missing), some(missing), len(extra), some(extra))
		}
	}
}

func merged(a, b map[string][]string) map[string][]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// some shows the first few.
func some(texts []string) string { return strings.Join(texts[:min(len(texts), 3)], " ") }

// sorted returns the payloads of data ports and dead letters as JSON.
func (r *Result) sorted() map[string][]string {
	m := map[string][]string{}
	for name, all := range r.ports {
		for _, w := range all {
			if strings.HasPrefix(w.typ, "weir.") {
				continue
			}
			text, err := payload.AsJSON(r.codec, w.payload)
			if err != nil {
				text = w.payload
			}
			m[name] = append(m[name], unnumbered(w.typ, text))
		}
		slices.Sort(m[name])
	}
	return m
}

// unnumbered leaves out of a failed payload what depends on what came first, and on
// deaths: the number of its record behind a merge, and how many attempts were made.
func unnumbered(typ string, text []byte) string {
	if !strings.HasPrefix(typ, "Failed[") {
		return string(text)
	}
	var failed map[string]json.RawMessage
	if json.Unmarshal(text, &failed) != nil {
		return string(text)
	}
	delete(failed, "ref")
	delete(failed, "attempts")
	out, err := json.Marshal(failed)
	if err != nil {
		return string(text)
	}
	return string(out)
}

// A logical is one call as the record tells of it: of a step, for an input.
type logical struct {
	effect, key string
	settled     uint64 // the epoch that recorded its final outcome, 0 if none did
	undone      int    // how often it is on record that an attempt did not happen
}

// logicals reads the calls that are on record.
func (r *Result) logicals() (all []*logical, err error) {
	of := map[string]*logical{}
	for name, port := range r.ports {
		if !strings.HasSuffix(name, "."+journal.PortFx) {
			continue
		}
		for _, w := range port {
			e, err := plan.ParseEntry(w.typ, w.payload)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if e.Key == "" || len(w.refs) == 0 || e.Type != plan.EntryIntent && e.Type != plan.EntryAttempt && e.Type != plan.EntryOutcome {
				continue
			}
			id := fmt.Sprint(name, w.refs[0], e.Step)
			l := of[id]
			if l == nil {
				l = &logical{effect: e.Effect, key: e.Key}
				of[id], all = l, append(all, l)
			}
			if e.Final {
				l.settled = w.epoch
			}
			if e.Type == plan.EntryOutcome && e.Outcome == plan.OutcomeNotDone {
				l.undone++
			}
		}
	}
	return all, nil
}

// calls compares what effects were asked for with the record and with the run that
// nothing happened to.
func (c *campaign) calls(calm *campaign, bad func(string, ...any)) {
	known, err := c.left.logicals()
	if err != nil {
		bad("%v", err)
		return
	}
	of := func(effect, key string) string { return effect + " " + key }
	asked := map[string][]doubled{}
	for _, d := range c.setup.doubles {
		for _, x := range d.calls {
			asked[of(x.effect, x.key)] = append(asked[of(x.effect, x.key)], x)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(asked)) {
		calls := asked[id]
		first, once := calls[0], 0
		for _, l := range known {
			if of(l.effect, l.key) == id {
				once += 1 + l.undone
			}
		}
		for _, x := range calls {
			if a, b := fmt.Sprintf("%+v", first.request), fmt.Sprintf("%+v", x.request); a != b {
				bad("effect %s was asked with key %s for %s, and then for %s", x.effect, x.key, a, b)
			}
			epoch := c.epochs[x.session]
			if !slices.ContainsFunc(known, func(l *logical) bool {
				return of(l.effect, l.key) == id && (l.settled == 0 || epoch <= l.settled)
			}) && epoch > 0 && x.safety != plan.Idempotent {
				bad("effect %s was asked with key %s in epoch %d, when its outcome was on record", x.effect, x.key, epoch)
			}
		}
		if first.safety == plan.AtMostOnce && len(calls) > once {
			bad("effect %s was called %d times with key %s, and happens at most once: %+v", first.effect, len(calls), first.key, first.request)
		}
	}
	if want, got := calm.setup.asked(), c.setup.asked(); !slices.Equal(want, got) {
		bad("effects were asked for\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// asked lists what effects were asked for, each logical call once.
func (s *setup) asked() (all []string) {
	type call struct{ effect, key string }
	seen := map[call]bool{}
	for _, d := range s.doubles {
		for _, x := range d.calls {
			if c := (call{x.effect, x.key}); !seen[c] {
				seen[c] = true
				all = append(all, fmt.Sprintf("%s %+v", x.effect, x.request))
			}
		}
	}
	slices.Sort(all)
	return all
}

// deliveries compares what sinks got with the receipts and with what there was.
func (c *campaign) deliveries(bad func(string, ...any)) {
	for _, stage := range slices.Sorted(maps.Keys(c.setup.sinks)) {
		got := map[event.RecordID]int{}
		receipts := c.left.receipts(stage)
		for _, d := range c.setup.sinks[stage].marks {
			got[d.id]++
			if !c.left.holds(d.id) {
				bad("sink %s got %s, which is not in the log", stage, d.id)
			}
			if got[d.id] > 1 && !d.again {
				bad("sink %s got %s again, and was not told so", stage, d.id)
			}
			if by := receipts.by(d.id.Journal, d.id.Seq); by == 0 {
				bad("sink %s got %s, and there is no receipt", stage, d.id)
			} else if epoch := c.epochs[d.session]; epoch > by {
				bad("sink %s got %s in epoch %d, and its receipt is of epoch %d", stage, d.id, epoch, by)
			}
		}
		for _, r := range receipts {
			for seq := r.From; seq <= r.To && r.To > 0; seq++ {
				if !slices.ContainsFunc(c.setup.sinks[stage].marks, func(d delivery) bool { return d.id.Journal == r.Journal && d.id.Seq == seq }) {
					bad("sink %s has a receipt for %s:%d, and did not get it", stage, r.Journal, seq)
				}
			}
		}
	}
}

type receipts []receipt

// A receipt is one with the epoch that wrote it.
type receipt struct {
	evidence.Receipt
	epoch uint64
}

// holds tells whether the log has a record.
func (r *Result) holds(id event.RecordID) bool {
	all := r.ports[id.Journal]
	return id.Seq > 0 && id.Seq <= uint64(len(all)) && r.epochs[all[id.Seq-1].epoch] == id.Epoch
}

// receipts returns those of a sink.
func (r *Result) receipts(stage string) (all receipts) {
	for _, name := range slices.Sorted(maps.Keys(r.ports)) {
		if !strings.HasPrefix(name, stage+".") {
			continue
		}
		for _, w := range r.ports[name] {
			one := receipt{epoch: w.epoch}
			if w.typ == evidence.TypeReceipt && json.Unmarshal(w.payload, &one.Receipt) == nil {
				all = append(all, one)
			}
		}
	}
	return all
}

// by is the epoch that gave the receipt for a record, 0 if none did.
func (rs receipts) by(journal string, seq uint64) uint64 {
	for _, r := range rs {
		if r.Journal == journal && r.From <= seq && seq <= r.To {
			return cmp.Or(r.epoch, 1)
		}
	}
	return 0
}
