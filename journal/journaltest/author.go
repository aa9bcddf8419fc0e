package journaltest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// A placed frame is what a log should hold at an LSN.
type placed struct {
	epoch uint64
	more  bool
	body  string
	stage string
	check string // snapshot that its checkpoint names
	first uint64 // the records of stage.out that it holds
	count int
}

// An author writes transitions as stages do: numbers and sequences without gaps,
// bodies that are all different. It remembers what it has been told was placed.
type author struct {
	rng    *rand.Rand
	enc    journal.Encoder
	stages map[string]counters
	made   uint64   // records ever made, so that no two are equal
	log    []placed // LSN i+1 at i
}

type counters struct {
	number, seq uint64
	digest      wire.Digest
}

func newAuthor(seed uint64) *author {
	return &author{rng: rand.New(rand.NewPCG(seed, 1)), stages: map[string]counters{}}
}

// A draft is a transition that is not placed yet.
type draft struct {
	stage  string
	frames []journal.Frame
	want   []placed
	after  counters
}

// Options of a draft.
type shape struct {
	stage string
	parts int    // at least one
	bytes int    // of payload in each part, about
	check string // name of the snapshot to name in a checkpoint, in the last part
	sum   [sha256.Size]byte
}

// draft writes a transition. The log's copy of it is the author's no more: the
// caller may do what it likes to the bodies.
func (a *author) draft(s shape) draft {
	d := draft{stage: s.stage, after: a.stages[s.stage]}
	for part := range s.parts {
		t := a.transition(s, &d.after)
		p := placed{more: part+1 < s.parts, stage: s.stage, first: t.Outputs[0].First, count: t.Outputs[0].Count}
		if s.check != "" && !p.more {
			p.check = s.check
			t.Check = &journal.Checkpoint{Snapshot: s.check, Sum: s.sum}
		}
		frames, err := a.enc.Encode(t)
		if err != nil {
			panic(fmt.Sprintf("encode: %v", err))
		}
		for i, f := range frames { // more than one only if the part is larger than a frame may be
			f.Body, f.Spans = slices.Clone(f.Body), slices.Clone(f.Spans)
			q := p
			q.more = p.more || i+1 < len(frames)
			q.body = string(f.Body)
			q.first, q.count = 0, 0
			for _, span := range f.Spans {
				if span.Port == "out" {
					q.first, q.count = span.First, span.Count
				}
			}
			d.frames, d.want = append(d.frames, f), append(d.want, q)
		}
		d.after.number += uint64(len(frames)) - 1
	}
	return d
}

// transition writes one frame's worth.
func (a *author) transition(s shape, c *counters) *journal.Transition {
	c.number++
	t := &journal.Transition{
		Stage: s.stage, Number: c.number, Code: "v1", Time: time.Unix(0, int64(a.made)).UTC(),
		Consumed: []journal.Consumed{{Kind: journal.Resumed}},
	}
	out := journal.Output{Port: "out", Type: "Item", First: c.seq + 1}
	last := -1
	for left := max(s.bytes, 16); left > 0; {
		n := min(left, 1+a.rng.IntN(4096)+left/8)
		left -= n
		payload := binary.BigEndian.AppendUint64(nil, a.made)
		for len(payload) < n {
			payload = binary.LittleEndian.AppendUint64(payload, a.rng.Uint64())
		}
		a.made++
		c.seq++
		out.Count++
		out.Records, last = journal.AppendRecord(out.Records, last, &journal.Record{Items: []int{0}, Payload: payload})
		c.digest = c.digest.Add(c.seq, wire.Checksum(payload))
	}
	out.Digest = uint64(c.digest)
	t.Outputs = []journal.Output{out}
	return t
}

// placed tells that the log took the draft in an epoch.
func (a *author) placed(d draft, epoch uint64) {
	for _, p := range d.want {
		p.epoch = epoch
		a.log = append(a.log, p)
	}
	a.stages[d.stage] = d.after
}

// cut tells that only the first n frames are left.
func (a *author) cut(n int) {
	a.log = slices.Clone(a.log[:n])
	clear(a.stages)
	for _, p := range a.log {
		a.stages[p.stage] = follow(a.stages[p.stage], p)
	}
}

// follow returns where a stage stands after a frame, given where it stood.
func follow(c counters, p placed) counters {
	var t journal.Transition
	if err := journal.Parse([]byte(p.body), &t); err != nil {
		panic(fmt.Sprintf("a frame of ours does not parse: %v", err))
	}
	c.number = t.Number
	for _, o := range t.Outputs {
		c.seq, c.digest = o.First+uint64(o.Count)-1, wire.Digest(o.Digest)
	}
	return c
}
