package segment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	indexMagic = "\xf7WEIRIDX"
	// markEvery is how many bytes of frames lie between two marks.
	markEvery = 32 << 10
)

// A port names a journal without putting a string together.
type port struct{ stage, name string }

// splitJournal is the inverse of "stage.port".
func splitJournal(name string) port {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return port{name[:i], name[i+1:]}
	}
	return port{name: name}
}

func (p port) String() string { return p.stage + "." + p.name }

// An index says where in one segment records are, and how far every stage and
// every journal had come at its end.
type index struct {
	stages   map[string]*stageEnd
	journals map[port]*journalEnd
	marks    []mark
}

// A stageEnd is how far a stage has come.
type stageEnd struct {
	last, check journal.LSN
	number      uint64
}

// A journalEnd is how far a journal has come, and where it is in the segment.
type journalEnd struct {
	last    uint64
	entries []entry
}

// A mark is the first frame of a transition.
type mark struct {
	lsn journal.LSN
	off int64
}

// An entry says that record seq is at or after a mark.
type entry struct {
	seq  uint64
	mark int
}

func newIndex() *index {
	return &index{stages: map[string]*stageEnd{}, journals: map[port]*journalEnd{}}
}

// next turns the index of one segment into that of the following one.
func (x *index) next() {
	x.marks = x.marks[:0]
	for _, j := range x.journals {
		j.entries = j.entries[:0]
	}
}

// follows checks that the frame's records go on where their journals ended, for
// span i of a transition whose earlier spans are given.
func (x *index) follows(s journal.Span, before []journal.Span) error {
	last := uint64(0)
	if j := x.journals[port{s.Stage, s.Port}]; j != nil {
		last = j.last
	}
	for _, b := range before {
		if b.Stage == s.Stage && b.Port == s.Port {
			last = b.First + uint64(b.Count) - 1
		}
	}
	if s.Count < 0 || s.First != last+1 {
		return fmt.Errorf("journal %s.%s ends at %d, the frame's records begin at %d", s.Stage, s.Port, last, s.First)
	}
	return nil
}

// add enters a frame. first says that it begins a transition.
func (x *index) add(lsn journal.LSN, off int64, first, check bool, stage string, spans []journal.Span) {
	if n := len(x.marks); first && (n == 0 || off-x.marks[n-1].off >= markEvery) {
		x.marks = append(x.marks, mark{lsn, off})
	}
	s := x.stages[stage]
	if s == nil {
		s = &stageEnd{}
		x.stages[strings.Clone(stage)] = s
	}
	s.last = lsn
	s.number++
	if check {
		s.check = lsn
	}
	for i := range spans {
		span := &spans[i]
		if span.Count == 0 {
			continue
		}
		j := x.journals[port{span.Stage, span.Port}]
		if j == nil {
			j = &journalEnd{}
			x.journals[port{strings.Clone(span.Stage), strings.Clone(span.Port)}] = j
		}
		m := len(x.marks) - 1
		if n := len(j.entries); m >= 0 && (n == 0 || j.entries[n-1].mark != m) {
			j.entries = append(j.entries, entry{span.First, m})
		}
		j.last = span.First + uint64(span.Count) - 1
	}
}

// before returns the last mark that is not after lsn.
func (x *index) before(lsn journal.LSN) (mark, bool) {
	i := sort.Search(len(x.marks), func(i int) bool { return x.marks[i].lsn > lsn })
	if i == 0 {
		return mark{}, false
	}
	return x.marks[i-1], true
}

// find returns the last mark that is not after record seq of a journal.
func (x *index) find(p port, seq uint64) (mark, bool) {
	j := x.journals[p]
	if j == nil {
		return mark{}, false
	}
	i := sort.Search(len(j.entries), func(i int) bool { return j.entries[i].seq > seq })
	if i == 0 {
		return mark{}, false
	}
	return x.marks[j.entries[i-1].mark], true
}

func (x *index) tails() map[string]journal.Tail {
	tails := make(map[string]journal.Tail, len(x.stages))
	for name, s := range x.stages {
		tails[name] = journal.Tail{Last: s.last, Checkpoint: s.check}
	}
	return tails
}

func (x *index) encode() []byte {
	b := append([]byte(nil), indexMagic...)
	stages := slices.Sorted(maps.Keys(x.stages))
	b = wire.AppendUvarint(b, uint64(len(stages)))
	for _, name := range stages {
		s := x.stages[name]
		b = wire.AppendString(b, name)
		b = wire.AppendUvarint(b, uint64(s.last))
		b = wire.AppendUvarint(b, uint64(s.check))
		b = wire.AppendUvarint(b, s.number)
	}
	ports := slices.SortedFunc(maps.Keys(x.journals), func(a, b port) int {
		return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.name, b.name))
	})
	b = wire.AppendUvarint(b, uint64(len(ports)))
	for _, p := range ports {
		j := x.journals[p]
		b = wire.AppendString(b, p.stage)
		b = wire.AppendString(b, p.name)
		b = wire.AppendUvarint(b, j.last)
		b = wire.AppendUvarint(b, uint64(len(j.entries)))
		var at entry
		for _, e := range j.entries {
			b = wire.AppendUvarint(b, e.seq-at.seq)
			b = wire.AppendUvarint(b, uint64(e.mark-at.mark))
			at = e
		}
	}
	b = wire.AppendUvarint(b, uint64(len(x.marks)))
	var at mark
	for _, m := range x.marks {
		b = wire.AppendUvarint(b, uint64(m.lsn-at.lsn))
		b = wire.AppendUvarint(b, uint64(m.off-at.off))
		at = m
	}
	return b
}

// parseIndex decodes what encode wrote. Its bytes have passed their CRC, so a
// fault here is one of the writer; it is reported all the same.
func parseIndex(b []byte) (*index, error) {
	r := wire.NewReader(b)
	if string(r.Raw("magic", len(indexMagic))) != indexMagic {
		r.Fail(0, "the magic of an index", "other bytes")
	}
	x := newIndex()
	for range r.Count("stages", 4) {
		name := r.String("stage", journal.MaxName)
		x.stages[name] = &stageEnd{
			last: journal.LSN(r.Uvarint("last")), check: journal.LSN(r.Uvarint("checkpoint")), number: r.Uvarint("number"),
		}
	}
	var marks int
	for range r.Count("journals", 4) {
		p := port{r.String("stage", journal.MaxName), r.String("port", journal.MaxName)}
		j := &journalEnd{last: r.Uvarint("last sequence")}
		n := r.Count("entries", 2)
		j.entries = make([]entry, 0, n)
		var at entry
		for range n {
			off := r.Offset()
			at.seq += r.Uvarint("sequence")
			step := r.Uvarint("mark")
			if step > uint64(len(b)) {
				r.Fail(off, "the number of a mark", "a greater one")
				break
			}
			at.mark += int(step)
			j.entries = append(j.entries, at)
			marks = max(marks, at.mark+1)
		}
		x.journals[p] = j
	}
	off := r.Offset()
	n := r.Count("marks", 2)
	if marks > n {
		r.Fail(off, fmt.Sprintf("at least %d marks", marks), strconv.Itoa(n))
	}
	x.marks = make([]mark, 0, n)
	var at mark
	for range n {
		here := r.Offset()
		lsn, off := r.Uvarint("LSN"), r.Uvarint("offset")
		if lsn > 1<<62 || off > 1<<40 || at.lsn > 1<<62 || at.off > 1<<40 {
			r.Fail(here, "a mark within the segment", "one beyond")
			break
		}
		at = mark{at.lsn + journal.LSN(lsn), at.off + int64(off)}
		x.marks = append(x.marks, at)
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return x, nil
}
