package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir/effect"
)

// A Port commits effects together with their keys and outcomes: give it to
// effect.Transactional. Make one with [Tx].
type Port struct {
	db *DB

	// Isolation is that of its transactions. Empty means read committed.
	Isolation pgx.TxIsoLevel
}

var _ effect.TxPort[pgx.Tx] = (*Port)(nil)

// Tx returns a Port to db.
func Tx(db *DB) *Port { return &Port{db: db} }

// errCommitted says that a key was committed before, and its outcome is to be
// looked up.
var errCommitted = errors.New("an earlier attempt has been committed")

// Commit runs fn in a transaction that holds key; see effect.TxPort. Of what fn
// returns, an error of the server that says that a row is refused is final; any
// other may pass, unless fn marked it.
//
// Whoever else has key in a transaction is waited for, at most Config.Timeout.
func (p *Port) Commit(ctx context.Context, key string, fn func(pgx.Tx) (outcome []byte, err error)) error {
	tx, err := p.begin(ctx, orElse(p.Isolation, pgx.ReadCommitted))
	if err != nil {
		return effect.DidNotHappen(err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	e := p.db.effects.sql()
	tag, err := tx.Exec(ctx, "insert into "+e+" (key, outcome) values ($1, '') on conflict (key) do nothing", key)
	if err != nil {
		return effect.DidNotHappen(fmt.Errorf("table %s: %w", p.db.effects, explain(err)))
	}
	if tag.RowsAffected() == 0 {
		return errCommitted
	}
	outcome, err := fn(inner{tx})
	if err != nil {
		return verdict(err)
	}
	if _, err := tx.Exec(ctx, "update "+e+" set outcome = $2 where key = $1", key, append([]byte{}, outcome...)); err != nil {
		return effect.DidNotHappen(fmt.Errorf("table %s: %w", p.db.effects, explain(err)))
	}
	err = tx.Commit(ctx)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("commit: %w", err)
	if rolledBack(err) {
		return verdict(err)
	}
	return explain(err) // it is not known
}

// Lookup returns the outcome that was committed with key; see effect.TxPort. A
// transaction that has the key is waited for, at most Config.Timeout, so that "not
// found" is not said of one that may still commit.
func (p *Port) Lookup(ctx context.Context, key string) (outcome []byte, found bool, err error) {
	tx, err := p.begin(ctx, pgx.ReadCommitted) // to see what was committed while it waited
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // it changes nothing
	e := p.db.effects.sql()
	tag, err := tx.Exec(ctx, "insert into "+e+" (key, outcome) values ($1, '') on conflict (key) do nothing", key)
	if err != nil {
		return nil, false, fmt.Errorf("table %s: %w", p.db.effects, explain(err))
	}
	if tag.RowsAffected() == 1 {
		return nil, false, nil // it was free
	}
	err = tx.QueryRow(ctx, "select outcome from "+e+" where key = $1", key).Scan(&outcome)
	if err != nil {
		return nil, false, fmt.Errorf("table %s: %w", p.db.effects, explain(err))
	}
	return outcome, true, nil
}

// begin begins a transaction; its table is there.
func (p *Port) begin(ctx context.Context, isolation pgx.TxIsoLevel) (pgx.Tx, error) {
	pool, err := p.db.Pool(ctx)
	if err != nil {
		return nil, err
	}
	if !p.db.created.Load() {
		if err := p.db.create(ctx, pool, p.db.effects, effectsDDL); err != nil {
			return nil, err
		}
		p.db.created.Store(true)
	}
	tx, err := pool.BeginTx(ctx, p.db.begin(isolation, 0))
	return tx, explain(err)
}

// inner is a transaction that somebody else ends.
type inner struct{ pgx.Tx }

var errInner = errors.New("the transaction of an effect is ended by Weir: return nil to commit, an error to roll back")

func (inner) Commit(context.Context) error   { return errInner }
func (inner) Rollback(context.Context) error { return errInner }
