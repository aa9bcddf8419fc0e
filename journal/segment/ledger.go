package segment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// A ledger is Check's account of every stage and journal. Behind a gap it takes
// what it sees first.
type ledger struct {
	t      journal.Transition
	stages map[string]*stageAccount
	ports  map[port]*portAccount
	gaps   bool   // frames were missing somewhere
	part   string // the stage whose transition has begun and not ended
}

type stageAccount struct {
	number      uint64
	last, check journal.LSN
	snapshot    string
	sum         [32]byte
	unsure      bool // frames are missing before
}

type portAccount struct {
	last   uint64
	digest wire.Digest
	unsure bool // of both
	blind  bool // of the digest
}

func newLedger() *ledger {
	return &ledger{stages: map[string]*stageAccount{}, ports: map[port]*portAccount{}}
}

// gap notes that frames are missing.
func (l *ledger) gap() {
	for _, s := range l.stages {
		s.unsure = true
	}
	for _, p := range l.ports {
		p.unsure, p.blind = true, true
	}
	l.gaps, l.part = true, ""
}

// resume goes on after a segment with damage, by what its index says.
func (l *ledger) resume(x *index) {
	for name, s := range x.stages {
		a := l.stage(name)
		if a.check != s.check {
			a.snapshot = "" // not known
		}
		a.number, a.last, a.check, a.unsure = s.number, s.last, s.check, false
	}
	for name, j := range x.journals {
		p := l.port(name)
		p.last, p.unsure = j.last, false
	}
}

func (l *ledger) stage(name string) *stageAccount {
	s := l.stages[name]
	if s == nil {
		s = &stageAccount{unsure: l.gaps}
		l.stages[name] = s
	}
	return s
}

func (l *ledger) port(name port) *portAccount {
	p := l.ports[name]
	if p == nil {
		p = &portAccount{unsure: l.gaps, blind: l.gaps}
		l.ports[name] = p
	}
	return p
}

// add enters a frame that lies at off in file, and returns how many records it
// has. Its bytes have passed their CRC; the error says what they do not add up
// to.
func (l *ledger) add(f *frame, body []byte, file string, off int64) (uint64, error) {
	corrupt := func(name string, seq uint64, expected, found string) error {
		return &CorruptError{File: file, Offset: off, LSN: f.lsn, Journal: name, Sequence: seq, Expected: expected, Found: found}
	}
	t := &l.t
	if err := journal.Parse(body, t); err != nil {
		return 0, corrupt("", 0, "the body of a frame", err.Error())
	}
	s := l.stage(t.Stage)
	if !s.unsure && t.Number != s.number+1 {
		return 0, corrupt("", 0, fmt.Sprintf("frame %d of stage %s", s.number+1, t.Stage), fmt.Sprintf("frame %d", t.Number))
	}
	if l.part != "" && l.part != t.Stage {
		return 0, corrupt("", 0, "a further part of a transition of stage "+l.part, "a frame of stage "+t.Stage)
	}
	if l.part = ""; f.more() {
		l.part = t.Stage
	}
	s.number, s.last, s.unsure = t.Number, f.lsn, false
	records := uint64(0)
	for i := range t.Outputs {
		o := &t.Outputs[i]
		n, bad := l.output(t.Stage, o)
		records += n
		if bad != nil {
			return records, corrupt(t.Stage+"."+o.Port, o.First, bad.expected, bad.found)
		}
	}
	for i := range t.Ends {
		if bad := l.end(t.Stage, &t.Ends[i]); bad != nil {
			return records, corrupt(t.Stage+"."+t.Ends[i].Port, t.Ends[i].Count, bad.expected, bad.found)
		}
	}
	if t.Check != nil {
		s.check, s.snapshot, s.sum = f.lsn, t.Check.Snapshot, t.Check.Sum
	}
	if f.check() != (t.Check != nil) {
		return records, corrupt("", 0, fmt.Sprintf("a frame whose flag says of a checkpoint: %v", t.Check != nil), strconv.FormatBool(f.check()))
	}
	return records, nil
}

func (l *ledger) output(stage string, o *journal.Output) (uint64, *fault) {
	p := l.port(port{stage, o.Port})
	if !p.unsure && o.First != p.last+1 {
		return 0, &fault{fmt.Sprintf("records from %d", p.last+1), fmt.Sprintf("from %d", o.First)}
	}
	var (
		rec journal.Record
		rs  = journal.NewRecords(o)
		n   uint64
	)
	digest := p.digest
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			break
		}
		n++
		digest = digest.Add(seq, wire.Checksum(rec.Payload))
	}
	if err := rs.Err(); err != nil {
		return n, &fault{"records", err.Error()}
	}
	if n != uint64(o.Count) {
		return n, &fault{fmt.Sprintf("%d records", o.Count), strconv.FormatUint(n, 10)}
	}
	if !p.blind && uint64(digest) != o.Digest {
		return n, &fault{fmt.Sprintf("records with digest %016x", o.Digest), fmt.Sprintf("%016x", uint64(digest))}
	}
	*p = portAccount{last: o.First + uint64(o.Count) - 1, digest: wire.Digest(o.Digest)}
	return n, nil
}

func (l *ledger) end(stage string, e *journal.End) *fault {
	p := l.port(port{stage, e.Port})
	if !p.unsure && e.Count != p.last {
		return &fault{fmt.Sprintf("an end after %d records", p.last), fmt.Sprintf("one after %d", e.Count)}
	}
	if !p.blind && e.Digest != uint64(p.digest) {
		return &fault{fmt.Sprintf("an end with digest %016x", uint64(p.digest)), fmt.Sprintf("%016x", e.Digest)}
	}
	return nil
}

// differs names the first stage or journal that an index has otherwise, or
// returns an empty name.
func (l *ledger) differs(x *index) (name, expected, found string) {
	for _, name := range slices.Sorted(maps.Keys(l.stages)) {
		a := l.stages[name]
		want := stageEnd{last: a.last, check: a.check, number: a.number}
		got := x.stages[name]
		if a.unsure || a.last == 0 {
			continue
		}
		if got == nil {
			return "stage " + name, fmt.Sprintf("%+v", want), "nothing"
		}
		if *got != want {
			return "stage " + name, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", *got)
		}
	}
	for _, p := range l.sorted() {
		a := l.ports[p]
		if j := x.journals[p]; !a.unsure && (j == nil && a.last != 0 || j != nil && j.last != a.last) {
			found := "nothing"
			if j != nil {
				found = strconv.FormatUint(j.last, 10)
			}
			return "journal " + p.String(), strconv.FormatUint(a.last, 10), found
		}
	}
	return "", "", ""
}

func (l *ledger) sorted() []port {
	return slices.SortedFunc(maps.Keys(l.ports), func(a, b port) int {
		return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.name, b.name))
	})
}

func (l *ledger) totals() []JournalTotal {
	var all []JournalTotal
	for _, p := range l.sorted() {
		a := l.ports[p]
		all = append(all, JournalTotal{Stage: p.stage, Port: p.name, Records: a.last, Digest: uint64(a.digest)})
	}
	return all
}

// A namedSnapshot is what the newest checkpoint of a stage says of its snapshot.
type namedSnapshot struct {
	stage, name string
	sum         [32]byte
	lsn         journal.LSN
}

func (l *ledger) checkpoints() []namedSnapshot {
	var all []namedSnapshot
	for _, stage := range slices.Sorted(maps.Keys(l.stages)) {
		if s := l.stages[stage]; s.check != 0 && s.snapshot != "" && !s.unsure {
			all = append(all, namedSnapshot{stage, s.snapshot, s.sum, s.check})
		}
	}
	return all
}
