package redrive

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An Opener opens the origin. The caller calls done when it has read what it needs.
type Opener func() (o *Origin, done func() error, err error)

// What is read at once.
const (
	batchRecords = 256
	batchBytes   = 256 << 10
)

// A feed is a plan.Source that reads a recorded run.
type feed struct{}

func (feed) Bounded() bool                                   { return true }
func (feed) Ack() func(ctx context.Context, to string) error { return nil }

// A copied record waits to be written.
type copied struct {
	port  *plan.Port
	batch *plan.Batch
	at    int // in batch
	cause plan.Cause
}

// emit writes copies. What cannot be written is the error of its port's writer.
func emit(r *plan.Read) {
	for i := range r.Batch.([]copied) {
		c := &r.Batch.([]copied)[i]
		c.port.Writer.(plan.Copier).Copy(c.batch, c.at, &c.cause)
	}
}

// letters reads the inputs of letters, or the rows that they hold. Its position is
// the letter that it read last.
type letters struct {
	feed
	again *journal.Redrive
	open  Opener
	port  *plan.Port    // of inputs
	rows  plan.Rereader // of rows
}

// Expect returns how many letters there are.
func (s *letters) Expect(context.Context) (int64, bool, error) {
	return int64(s.again.Count()), true, nil
}

// Read gives the letters after a position; see plan.Source.
func (s *letters) Read(ctx context.Context, after string, take func(*plan.Read) bool) (err error) {
	left, err := behind(s.again, after)
	if err != nil || len(left) == 0 {
		return err
	}
	o, done, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	p := pile{s: s, ctx: ctx, o: o, take: take}
	for _, l := range left {
		read := uint64(0)
		err := o.Letters(l.Journal, l.From, l.To, func(letter *Letter) error {
			read++
			return p.add(letter)
		})
		if err == nil && read != l.To-l.From+1 {
			err = fmt.Errorf("run %s has %d of the letters %s:%d to %d: %w", o.Run(), read, l.Journal, l.From, l.To, ErrGone)
		}
		if errors.Is(err, errEnough) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	if err := p.give(); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return context.Cause(ctx)
}

// Emit writes what was read; see plan.Source.
func (s *letters) Emit(r *plan.Read) {
	if s.rows != nil {
		s.rows.Emit(r)
		return
	}
	emit(r)
}

// behind returns the letters of r after the one that a position names.
func behind(r *journal.Redrive, position string) ([]journal.Letters, error) {
	if position == "" {
		return r.Taken, nil
	}
	ref, err := event.ParseRef(position)
	if err == nil {
		for i, l := range r.Taken {
			if l.Journal != ref.Journal() || ref.Seq < l.From || ref.Seq > l.To {
				continue
			}
			if ref.Seq == l.To {
				return r.Taken[i+1:], nil
			}
			l.From = ref.Seq + 1
			return append([]journal.Letters{l}, r.Taken[i+1:]...), nil
		}
	}
	return nil, fmt.Errorf("the recorded position %q is none of the letters that this run takes", position)
}

// errEnough says that nothing more shall be read.
var errEnough = errors.New("enough was read")

// A pile is letters that are given in one batch.
type pile struct {
	s    *letters
	ctx  context.Context //nolint:containedctx // of one call of Read
	o    *Origin
	take func(*plan.Read) bool

	copies []copied
	rows   []plan.Row
	bytes  int
	last   event.Ref
}

func (p *pile) add(l *Letter) error {
	if p.ctx.Err() != nil {
		return errEnough
	}
	cause := l.Cause(p.o.Run())
	if p.s.rows != nil {
		p.rows = append(p.rows, plan.Row{Raw: l.Row, Kind: l.Kind, Cause: cause})
		p.bytes += len(l.Row)
	} else {
		r, err := p.o.Record(l.Input)
		if err != nil {
			return fmt.Errorf("the input of letter %s: %w", l.Ref, err)
		}
		b, err := r.batch(p.s.port)
		if err != nil {
			return fmt.Errorf("the input of letter %s: %w", l.Ref, err)
		}
		p.copies = append(p.copies, copied{p.s.port, b, 0, plan.Cause{Refs: []plan.Origin{cause}, Copy: &plan.Copy{Of: r.Of, Time: r.Time}}})
		p.bytes += len(b.Raw)
	}
	p.last = l.Ref
	if len(p.copies)+len(p.rows) >= batchRecords || p.bytes >= batchBytes {
		return p.give()
	}
	return nil
}

// give hands over what was gathered.
func (p *pile) give() error {
	n := len(p.copies) + len(p.rows)
	if n == 0 {
		return nil
	}
	read := &plan.Read{N: n, Batch: p.copies}
	if p.s.rows != nil {
		var err error
		if read, err = p.s.rows.Reread(p.ctx, p.rows); err != nil {
			return err
		}
	}
	read.Bytes, read.Position = p.bytes, p.last.String()
	p.copies, p.rows, p.bytes = nil, nil, 0
	if !p.take(read) {
		return errEnough
	}
	return nil
}

// tables reads whole journals of the origin, one after the other. Its position is
// the record that it read last.
type tables struct {
	feed
	open  Opener
	ports []table
}

// A table is a port and the journal of the origin that it has.
type table struct {
	port    *plan.Port
	journal string
}

// Expect returns nothing: the end of a journal is on record in the origin.
func (s *tables) Expect(context.Context) (int64, bool, error) { return 0, false, nil }

// Emit writes what was read; see plan.Source.
func (s *tables) Emit(r *plan.Read) { emit(r) }

// Read gives the records after a position; see plan.Source.
func (s *tables) Read(ctx context.Context, after string, take func(*plan.Read) bool) (err error) {
	from := event.Ref{}
	if after != "" {
		if from, err = event.ParseRef(after); err != nil {
			return fmt.Errorf("the recorded position: %w", err)
		}
	}
	o, done, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	for _, t := range s.ports {
		next := uint64(1)
		if from.Seq > 0 {
			if t.journal != from.Journal() {
				continue
			}
			next, from = from.Seq+1, event.Ref{}
		}
		err := o.whole(ctx, t, next, take)
		if errors.Is(err, errEnough) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whole gives a journal from sequence next to its end.
func (o *Origin) whole(ctx context.Context, t table, next uint64, take func(*plan.Read) bool) error {
	stage, port := splitJournal(t.journal)
	at, err := o.log.Find(t.journal, next)
	if err != nil {
		return fmt.Errorf("find %s:%d in run %s: %w", t.journal, next, o.run, err)
	}
	ended := false
	err = o.transitions(max(at, 1), func(p *journal.Placed) (bool, error) {
		switch {
		case ctx.Err() != nil:
			return false, errEnough
		case p.Stage != stage:
			return true, nil
		}
		for i := range p.Outputs {
			out := &p.Outputs[i]
			if out.Port != port || out.First+uint64(out.Count) <= next {
				continue
			}
			if err := o.rows(t, p, out, next, take); err != nil {
				return false, err
			}
			next = out.First + uint64(out.Count)
		}
		for _, e := range p.Ends {
			ended = ended || e.Port == port && e.Kind == journal.Natural && e.Count == next-1
		}
		return !ended, nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("%s had not come to its end in run %s: a table of it would be incomplete", t.journal, o.run)
	}
	return err
}

// rows gives the records of an output from sequence next on.
func (o *Origin) rows(t table, p *journal.Placed, out *journal.Output, next uint64, take func(*plan.Read) bool) error {
	copied := *out
	copied.Records = append([]byte(nil), out.Records...)
	b, err := o.decode(t.port, t.journal, &copied, next, p.Epoch)
	if err != nil {
		return fmt.Errorf("run %s: %w", o.run, err)
	}
	if b == nil {
		return nil
	}
	b.Journal, b.Epoch, b.Recorded = t.journal, o.epochs[p.Epoch], p.Time.UnixNano()
	for from := 0; from < b.N; from += batchRecords {
		to := min(b.N, from+batchRecords)
		if !take(o.copies(t.port, b, from, to)) {
			return errEnough
		}
	}
	return nil
}

// copies makes a batch of records from to to-1 of b.
func (o *Origin) copies(p *plan.Port, b *plan.Batch, from, to int) *plan.Read {
	all := make([]copied, 0, to-from)
	bytes := 0
	for i := from; i < to; i++ {
		of, at := b.Original(i), b.Recorded
		if of.Run == "" {
			of = plan.Original{Run: o.run, ID: b.ID(i)}
		}
		if b.Times != nil {
			at = b.Times[i]
		}
		all = append(all, copied{p, b, i, plan.Cause{Copy: &plan.Copy{Of: of, Time: at}}})
		bytes += len(b.Payload(i))
	}
	stage, port := splitJournal(b.Journal)
	return &plan.Read{
		N: len(all), Bytes: bytes, Batch: all,
		Position: event.Ref{Stage: stage, Port: port, Seq: b.First + uint64(to) - 1}.String(),
	}
}
