package history

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// A Problem is one place where a run's record is not whole.
type Problem struct {
	What    string      `json:"what"`
	LSN     journal.LSN `json:"lsn,omitempty"`
	Stage   string      `json:"stage,omitempty"`
	Journal string      `json:"journal,omitempty"`
	Seq     uint64      `json:"seq,omitempty"`
}

func (p Problem) String() string {
	s := p.What
	if p.Journal != "" {
		s = fmt.Sprintf("%s:%d: %s", p.Journal, p.Seq, s)
	}
	if p.Stage != "" {
		s = fmt.Sprintf("stage %s: %s", p.Stage, s)
	}
	if p.LSN != 0 {
		s = fmt.Sprintf("frame %d: %s", p.LSN, s)
	}
	return s
}

// A Report is what Check found.
type Report struct {
	Problems    []Problem   `json:"problems"`
	From        journal.LSN `json:"from"` // the first frame that is kept
	To          journal.LSN `json:"to"`
	Frames      uint64      `json:"frames"`
	Transitions uint64      `json:"transitions"`
	Records     uint64      `json:"records"`
	Snapshots   int         `json:"snapshots"`
	Unconfirmed uint64      `json:"unconfirmed,omitempty"` // frames that are not known to be durable
	Open        bool        `json:"open"`                  // a process holds the run: its end is still being written
	Trimmed     bool        `json:"trimmed,omitempty"`     // retention removed the beginning, which can no longer be checked
}

// maxProblems is how many problems Check lists before it gives up.
const maxProblems = 100

// Check reads the whole run and reports everything that is damaged or does not
// follow on what came before: frames and their numbers, sequences, digests
// computed again from the payloads, what was consumed against what was written,
// causes, totals, checkpoints and the snapshots they name. The error says that
// the run could not be read at all.
func (r *Run) Check(ctx context.Context) (*Report, error) {
	_, held, err := r.owner()
	if err != nil {
		return nil, err
	}
	c := &checker{
		run:     r,
		report:  &Report{Problems: []Problem{}, Open: held, Trimmed: r.Manifest().Kept != nil, From: 1},
		stages:  map[string]uint64{},
		ports:   map[string]*total{},
		cursors: map[[2]string]uint64{},
		checks:  map[string]checked{},
	}
	if k := r.manifest.Kept; k != nil {
		c.report.From = k.First
		for j, first := range k.Journals {
			c.ports[j] = &total{count: max(first, 1) - 1, unknown: true}
		}
	}
	for e := range r.manifest.Redefinitions() {
		c.redefined = append(c.redefined, e)
	}
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	c.snapshots()
	return c.report, nil
}

type checker struct {
	run     *Run
	report  *Report
	at      *journal.Placed
	stages  map[string]uint64    // frames of each
	ports   map[string]*total    // by journal
	cursors map[[2]string]uint64 // by stage and journal
	checks  map[string]checked   // the newest checkpoint of each stage

	redefined []*journal.Epoch // with another definition, and not entered yet
}

// A total is what was counted of a journal.
type total struct {
	count   uint64
	digest  wire.Digest
	unknown bool // the digest: its beginning is not kept
}

type checked struct {
	lsn journal.LSN
	c   journal.Checkpoint
}

func (c *checker) add(name string, seq uint64, format string, args ...any) {
	p := Problem{What: fmt.Sprintf(format, args...), Journal: name, Seq: seq}
	if c.at != nil {
		p.LSN, p.Stage = c.at.Last, c.at.Stage
	}
	c.report.Problems = append(c.report.Problems, p)
}

func (c *checker) read(ctx context.Context) (err error) {
	in, err := c.run.log.Read(0)
	if err != nil {
		c.add("", 0, "%v", err)
		return nil
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	next := c.report.From
	var p journal.Placed
	for len(c.report.Problems) < maxProblems {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := ts.Next(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.at = nil
			c.add("", 0, "%v", err) // what follows cannot be trusted
			return nil
		}
		c.at = &p
		if p.First != next {
			c.add("", 0, "it follows frame %d: frames are missing", next-1)
		}
		next = p.Last + 1
		c.report.To = p.Last
		c.report.Frames += p.Frames()
		c.report.Transitions++
		c.transition(&p)
	}
	c.at = nil
	if d := c.run.log.Durable(); c.report.To > d {
		c.report.Unconfirmed = uint64(c.report.To - d)
	}
	return nil
}

func (c *checker) transition(p *journal.Placed) {
	for len(c.redefined) > 0 && c.redefined[0].Number <= p.Epoch {
		c.redefined[0].Redefined.Move(c.cursors)
		c.redefined = c.redefined[1:]
	}
	if have, ok := c.stages[p.Stage]; p.Number != have+1 && (ok || !c.report.Trimmed) {
		c.add("", 0, "it is frame %d of the stage, after %d", p.Number, have)
	}
	c.stages[p.Stage] = p.Number + p.Frames() - 1
	items := uint64(0)
	for i := range p.Consumed {
		items += p.Consumed[i].Items()
		if p.Consumed[i].Kind == journal.Run {
			c.consume(p.Stage, &p.Consumed[i])
		}
	}
	for i := range p.Outputs {
		c.output(p, &p.Outputs[i], items)
	}
	err := changesOf(p, func(table string, ch *journal.Change) error {
		if ch.Previous >= p.First {
			c.add("", 0, "the change of key %s of table %s names frame %d as the one before it", text(ch.Key), table, ch.Previous)
		}
		if n := len(ch.Items); n > 0 && uint64(ch.Items[n-1]) >= items {
			c.add("", 0, "the change of key %s of table %s follows from item %d of %d", text(ch.Key), table, ch.Items[n-1], items)
		}
		return nil
	})
	if err != nil {
		c.add("", 0, "%v", err)
	}
	for i := range p.Ends {
		c.totals(p.Stage, &p.Ends[i], "its end states")
	}
	if p.Check != nil {
		for i := range p.Check.Ports {
			c.totals(p.Stage, &p.Check.Ports[i], "a checkpoint states")
		}
		for _, cur := range p.Check.Cursors {
			k := [2]string{p.Stage, cur.Journal}
			if have, ok := c.cursors[k]; ok && have != cur.Seq {
				c.add(cur.Journal, cur.Seq, "a checkpoint states %d consumed, there were %d", cur.Seq, have)
			}
			c.cursors[k] = cur.Seq
		}
		c.checks[p.Stage] = checked{p.Last, *p.Check}
	}
}

func (c *checker) consume(stage string, run *journal.Consumed) {
	k := [2]string{stage, run.Journal}
	if have, ok := c.cursors[k]; run.From != have+1 && (ok || !c.report.Trimmed) {
		c.add(run.Journal, have+1, "consumed from %d on, after %d", run.From, have)
	}
	c.cursors[k] = run.To
	written := uint64(0)
	if t, ok := c.ports[run.Journal]; ok {
		written = t.count
	} else if c.report.Trimmed {
		return
	}
	if run.To > written {
		c.add(run.Journal, written+1, "consumed up to %d before it was written", run.To)
	}
}

func (c *checker) output(p *journal.Placed, o *journal.Output, items uint64) {
	name := p.Stage + "." + o.Port
	t := c.ports[name]
	if t == nil {
		t = &total{}
		if c.report.Trimmed {
			t.count, t.unknown = o.First-1, true
		}
		c.ports[name] = t
	}
	if o.First != t.count+1 {
		c.add(name, t.count+1, "the records begin with %d, after %d", o.First, t.count)
	}
	var own wire.Digest
	var rec journal.Record
	rs := journal.NewRecords(o)
	for seq, ok := rs.Next(&rec); ok; seq, ok = rs.Next(&rec) {
		own = own.Add(seq, wire.Checksum(rec.Payload))
		c.causes(name, seq, o, &rec, items)
		c.report.Records++
	}
	if err := rs.Err(); err != nil {
		c.add(name, o.First, "%v", err)
	}
	if t.unknown {
		t.digest, t.unknown = wire.Digest(o.Digest)-own, false
	}
	t.count, t.digest = o.First+uint64(o.Count)-1, t.digest+own
	if uint64(t.digest) != o.Digest {
		c.add(name, t.count, "the digest is %016x, the payloads give %016x", o.Digest, uint64(t.digest))
		t.digest = wire.Digest(o.Digest)
	}
}

func (c *checker) causes(name string, seq uint64, o *journal.Output, rec *journal.Record, items uint64) {
	for _, i := range rec.Items {
		if uint64(i) >= items {
			c.add(name, seq, "it follows from item %d of %d", i, items)
			return
		}
	}
	for _, ref := range rec.Refs {
		if ref.Journal >= len(o.Journals) {
			c.add(name, seq, "it follows from journal %d of %d", ref.Journal, len(o.Journals))
			return
		}
		j := o.Journals[ref.Journal]
		if _, ok := journal.ParseForeign(j); ok {
			continue // of another run
		}
		written := uint64(math.MaxUint64)
		if t, ok := c.ports[j]; ok {
			written = t.count
		} else if !c.report.Trimmed {
			written = 0
		}
		if ref.Seq > written {
			c.add(name, seq, "it follows from %s:%d, which was not written before it", j, ref.Seq)
		}
	}
}

// totals holds what a transition states about a port against what was counted.
func (c *checker) totals(stage string, e *journal.End, says string) {
	name := stage + "." + e.Port
	t := c.ports[name]
	if t == nil {
		t = &total{unknown: c.report.Trimmed, count: e.Count}
		if !c.report.Trimmed {
			t.count = 0
		}
		c.ports[name] = t
	}
	if e.Count != t.count {
		c.add(name, t.count, "%s %d records, there are %d", says, e.Count, t.count)
	} else if uint64(t.digest) != e.Digest && !t.unknown {
		c.add(name, t.count, "%s digest %016x, the payloads give %016x", says, e.Digest, uint64(t.digest))
	}
}

// snapshots reads those that recovery would read.
func (c *checker) snapshots() {
	for _, stage := range sortedKeys(c.checks) {
		k := c.checks[stage]
		if k.c.Snapshot == "" {
			continue
		}
		c.report.Snapshots++
		add := func(format string, args ...any) {
			c.report.Problems = append(c.report.Problems, Problem{LSN: k.lsn, Stage: stage, What: fmt.Sprintf(format, args...)})
		}
		data, err := c.run.log.ReadSnapshot(k.c.Snapshot)
		switch outdated, failed := c.outdated(stage, k.lsn, err); {
		case failed != nil:
			add("the snapshot of its checkpoint: %v", failed)
		case outdated: // and removed for that
		case err != nil:
			add("the snapshot of its checkpoint: %v", err)
		case sha256.Sum256(data) != k.c.Sum:
			add("snapshot %s is not the one that the checkpoint names: its SHA-256 differs", k.c.Snapshot)
		}
	}
}

// outdated reports whether a snapshot is gone because its stage has a newer
// checkpoint than the one at lsn by now.
func (c *checker) outdated(stage string, lsn journal.LSN, gone error) (bool, error) {
	if !errors.Is(gone, fs.ErrNotExist) {
		return false, nil
	}
	if err := c.run.refresh(); err != nil {
		return false, err
	}
	return c.run.log.Tails()[stage].Checkpoint > lsn, nil
}
