package effect

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// A TxPort commits an action and its key in one transaction of its own. Its methods
// are called by several goroutines.
type TxPort[Tx any] interface {
	// Commit runs fn in a transaction and commits what it did together with key and
	// the outcome that fn returned; it may roll back and run fn anew. If fn returns an
	// error, Commit rolls back and returns it, wrapped or not; the port may mark it with
	// what it knows of it. If key was committed before, by whomever, it commits nothing
	// and returns an error. After any other error that is not marked it may or may not
	// have been committed.
	Commit(ctx context.Context, key string, fn func(Tx) (outcome []byte, err error)) error

	// Lookup returns the outcome that was committed with key. It does not say that
	// there is none while a transaction that has the key may still commit.
	Lookup(ctx context.Context, key string) (outcome []byte, found bool, err error)
}

// Transactional declares an action within a transaction of port, which is committed
// together with its outcome and a key like that of [KeyedByInput]. The port is
// asked for the key before a call is made again; so what was committed is never
// done again. do must act through tx only. An error of do means that nothing
// happened; it is tried again unless it is marked [Permanent].
func Transactional[Tx, Req, Res any](name string, port TxPort[Tx], do func(context.Context, Tx, Req) (Res, error)) Effect[Req, Res] {
	e := Effect[Req, Res]{name: name, safety: plan.Transactional}
	if port == nil || do == nil {
		e.fault = "effect.Transactional needs a port and a function"
	}
	e.build = func(c event.Codec) (*plan.Effect, error) {
		p, err := declare[Req, Res](name, plan.Transactional, nil, nil).build(c)
		if err != nil {
			return nil, err
		}
		p.Do = func(ctx context.Context, c plan.Call, req any) (any, error) {
			var res Res
			var refused error
			err := port.Commit(ctx, c.Key, func(tx Tx) ([]byte, error) {
				refused = nil // the port may try again
				var err error
				if res, err = do(ctx, tx, req.(Req)); err != nil {
					refused = err
					return nil, err
				}
				data, err := p.AppendRes(nil, res)
				if err != nil {
					refused = Permanent(fmt.Errorf("the result: %w", err))
				}
				return data, refused
			})
			if err == nil && refused == nil {
				return res, nil
			}
			if refused != nil {
				if errors.Is(err, refused) {
					refused = err // the port knows its own errors better
				}
				if known := (*plan.RefusedError)(nil); !errors.As(refused, &known) {
					refused = DidNotHappen(refused)
				}
				return nil, refused // fn failed, so it was rolled back
			}
			return nil, err
		}
		p.Reconcile = func(ctx context.Context, c plan.Call, _ any) (any, plan.CallState, error) {
			data, found, err := port.Lookup(ctx, c.Key)
			if err != nil {
				return nil, plan.CallUnknown, err
			}
			if !found {
				return nil, plan.CallNotDone, nil
			}
			res, err := p.DecodeRes(data)
			if err != nil {
				return nil, plan.CallUnknown, fmt.Errorf("the outcome that was committed with key %s: %w", c.Key, err)
			}
			return res, plan.CallDone, nil
		}
		return p, nil
	}
	return e
}
