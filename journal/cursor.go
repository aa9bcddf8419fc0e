package journal

import (
	"errors"
	"fmt"
	"io"
)

// A Placed transition is one with its place in the log. What it holds shares
// memory with frames; see TransitionReader.Next.
type Placed struct {
	First, Last LSN // of its frames
	Epoch       uint64
	Transition
}

// Author returns the epoch whose id is in the record ids of p: of a replay, the one
// that is replayed. own is the epoch that placed p.
func (p *Placed) Author(own ID) ID {
	if p.Origin != (ID{}) {
		return p.Origin
	}
	return own
}

// Frames returns how many frames the transition has.
func (p *Placed) Frames() uint64 { return uint64(p.Last-p.First) + 1 }

// A TransitionReader yields the transitions of a log, large ones in one piece.
type TransitionReader struct {
	in   Reader
	open bool // p holds parts, and more follow
	p    Placed
}

// Transitions returns a reader of the transitions in r, which it owns from then
// on.
func Transitions(r Reader) *TransitionReader { return &TransitionReader{in: r} }

// Next sets p to the next transition. What p holds is valid until the next call.
// At the end it returns io.EOF and may be called again later, also when the
// frames seen last were the first parts of a transition. A frame that cannot be
// decoded, or that is not the part that must follow, is a [*FrameError].
func (r *TransitionReader) Next(p *Placed) error {
	for {
		e, err := r.in.Next()
		if err != nil {
			return err
		}
		if !r.open && !e.More {
			*p = Placed{First: e.LSN, Last: e.LSN, Epoch: e.Epoch}
			return frameError(e.LSN, Parse(e.Body, &p.Transition))
		}
		if err := r.part(&e); err != nil {
			return frameError(e.LSN, err)
		}
		if !e.More {
			*p = r.p
			r.p, r.open = Placed{}, false
			return nil
		}
	}
}

// part adds e to the transition in hand.
func (r *TransitionReader) part(e *Entry) error {
	var t Transition
	if err := Parse(append([]byte(nil), e.Body...), &t); err != nil {
		return err
	}
	if !r.open {
		r.p = Placed{First: e.LSN, Last: e.LSN, Epoch: e.Epoch, Transition: t}
		r.open = true
		return nil
	}
	want := r.p.Number + r.p.Frames()
	if e.LSN != r.p.Last+1 || e.Epoch != r.p.Epoch || t.Stage != r.p.Stage || t.Number != want {
		return fmt.Errorf("want part %d of a transition of %s: LSN %d, epoch %d, frame %d of the stage; have LSN %d, epoch %d, frame %d of %s",
			r.p.Frames()+1, r.p.Stage, r.p.Last+1, r.p.Epoch, want, e.LSN, e.Epoch, t.Number, t.Stage)
	}
	r.p.Last = e.LSN
	r.p.Join(&t)
	return nil
}

// Close closes the reader underneath.
func (r *TransitionReader) Close() error { return r.in.Close() }

// A Source gives readers of frames; every Log is one.
type Source interface {
	Read(from LSN) (Reader, error)
}

// TransitionAt returns the transition that holds the frame at lsn, which may be
// any of its parts. Its memory is the caller's. The error wraps ErrTrimmed if the
// frame is no longer kept, io.EOF if the log does not reach that far.
func TransitionAt(log Source, lsn LSN) (*Placed, error) {
	// A reader begins at the start of a transition, so a later part is found from
	// further back.
	for back := LSN(0); ; back = 2*back + 1 {
		from := max(lsn, back+1) - back
		p, err := holding(log, from, lsn)
		last := from == 1 || back > MaxParts
		switch {
		case p != nil:
			return p, nil
		case err != nil && (last || !errors.Is(err, io.EOF)):
			return nil, fmt.Errorf("read frame %d: %w", lsn, err)
		case last:
			return nil, frameError(lsn, errors.New("no transition holds it"))
		}
	}
}

// holding returns the transition that holds lsn, reading from from on: nil if
// the one found there is behind it, with io.EOF if there is none.
func holding(log Source, from, lsn LSN) (found *Placed, err error) {
	in, err := log.Read(from)
	if err != nil {
		return nil, err
	}
	r := Transitions(cloning{in})
	defer func() {
		if closed := r.Close(); err == nil {
			err = closed
		}
	}()
	for {
		p := &Placed{}
		if err := r.Next(p); err != nil {
			return nil, err
		}
		if p.First > lsn {
			return nil, nil
		}
		if p.Last >= lsn {
			return p, nil
		}
	}
}

// cloning gives each frame memory of its own.
type cloning struct{ Reader }

func (c cloning) Next() (Entry, error) {
	e, err := c.Reader.Next()
	e.Body = append([]byte(nil), e.Body...)
	return e, err
}

// A FrameError says which frame of a log makes no sense, and why.
type FrameError struct {
	LSN LSN
	Err error
}

func (e *FrameError) Error() string { return fmt.Sprintf("frame %d: %v", e.LSN, e.Err) }

// Unwrap returns what is wrong with it.
func (e *FrameError) Unwrap() error { return e.Err }

func frameError(lsn LSN, err error) error {
	if err == nil {
		return nil
	}
	return &FrameError{LSN: lsn, Err: err}
}
