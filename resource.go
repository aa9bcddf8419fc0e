package weir

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
)

// A Resource is something that sources and sinks of one run share: a client, a
// pool. It is opened on first use, once, and closed when the run has ended; a
// run that does not use it never opens it. It is safe for concurrent use.
type Resource[T any] struct {
	name string
	open func(context.Context) (T, func() error, error)

	turn  chan struct{} // holds one token: who has it may look at the rest and open
	state resourceState
	value T
	close func() error
}

type resourceState uint8

const (
	unopened resourceState = iota
	opened
	closed
)

// Open declares a resource of f. open returns it and how to close it (nil if
// there is nothing to do); it is called within the first Get, and again by a
// later one if it fails.
func Open[T any](f *Flow, name string, open func(context.Context) (T, func() error, error)) *Resource[T] {
	at := f.open()
	if err := event.ValidName(event.StageName, name); err != nil {
		f.problem("", at, "resource: %v", err)
	}
	if open == nil {
		f.problem("", at, "the function that opens resource %s is nil", name)
	}
	for _, other := range f.plan.Resources {
		if other.Name() == f.prefix+name {
			f.problem("", at, "two resources are called %s; give one of them another name", other.Name())
		}
	}
	r := &Resource[T]{name: f.prefix + name, open: open, turn: make(chan struct{}, 1)}
	r.turn <- struct{}{}
	f.plan.Resources = append(f.plan.Resources, r)
	return r
}

// Get returns the resource, opening it if this is the first use. It waits for an
// opening under way, at most until ctx is done. Only code that was given a
// context can call it: pure functions have none.
func (r *Resource[T]) Get(ctx context.Context) (v T, err error) {
	select {
	case <-r.turn:
	case <-ctx.Done():
		return v, fmt.Errorf("open resource %s: %w", r.name, context.Cause(ctx))
	}
	defer func() { r.turn <- struct{}{} }()
	switch r.state {
	case opened:
		return r.value, nil
	case unopened:
	case closed:
		return v, fmt.Errorf("resource %s: %w", r.name, errRunEnded)
	}
	v, closer, err := r.open(ctx)
	if err != nil {
		var none T
		return none, fmt.Errorf("open resource %s: %w", r.name, err)
	}
	r.value, r.close, r.state = v, closer, opened
	return v, nil
}

var errRunEnded = errors.New("the run has ended")

// Name returns the resource's name, with groups.
func (r *Resource[T]) Name() string { return r.name }

// Close is called by the runtime when the run has ended and nothing uses the
// resource any more.
func (r *Resource[T]) Close() error {
	<-r.turn
	defer func() { r.turn <- struct{}{} }()
	was := r.state
	r.state = closed
	if was != opened || r.close == nil {
		return nil
	}
	if err := r.close(); err != nil {
		return fmt.Errorf("close resource %s: %w", r.name, err)
	}
	return nil
}
