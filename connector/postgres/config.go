package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/weirflow/weir"
)

// A Config says how to reach a database and how Weir behaves there.
type Config struct {
	// DSN is a URL, postgres://user:password@host/database?sslmode=verify-full, or
	// a list of settings, "host=/run/postgresql dbname=shop". What it leaves out
	// comes from PGHOST, PGPASSWORD and the other variables of libpq, and from
	// ~/.pgpass. It must not be empty.
	DSN weir.Secret
	// TLS is the least that every connection over a network must have. Zero means
	// what DSN says, as long as it says it: a DSN that falls back to plain text
	// without a word, as sslmode=prefer does, which is the default of PostgreSQL, is
	// always refused.
	TLS TLS

	// MaxConns is the size of the pool. Zero means pool_max_conns of DSN, or else
	// the number of processors, at least 4. A sink uses one connection, a call of a
	// transactional effect one.
	MaxConns int

	// ConnectTimeout bounds the making of a connection. Zero means connect_timeout
	// of DSN, or else 10 s.
	ConnectTimeout time.Duration
	// Timeout bounds a transaction of a sink, and every statement of an effect
	// (statement_timeout). Zero means 1 min.
	Timeout time.Duration
	// IdleTimeout is how long the server waits in a transaction for the next
	// statement before it ends it (idle_in_transaction_session_timeout), and about how
	// long it waits for a machine that does not answer (tcp_keepalives_idle): so how
	// long what a vanished process was about can be in the way. Zero means 10 s.
	IdleTimeout time.Duration

	// Marks and Effects name the tables of sinks and of effects, with or without a
	// schema. Empty means weir_marks and weir_effects, in the first schema of the
	// search path.
	Marks, Effects string
	// NoCreate leaves it to somebody else to create these tables; see the package
	// comment for what they are. A missing one is an error then.
	NoCreate bool

	// Configure has the last word about connections: to register types, to fetch a
	// password that changes, to dial in another way. What it makes of TLS is checked
	// like the rest. Nil means that there is nothing to say.
	Configure func(*pgxpool.Config)
}

// A DB is a pool of connections to one database, which the sinks and effects of a
// run share. It connects on first use; a replay has none.
type DB struct {
	set  Config
	pool *weir.Resource[*pgxpool.Pool]

	marks, effects table
	fault          error       // what is wrong with set
	created        atomic.Bool // the table of effects is there
}

// Open declares a database of f, as weir.Open does. The error of what is wrong with
// c comes from its first use.
func Open(f *weir.Flow, name string, c Config) *DB {
	db := &DB{set: c}
	db.set.ConnectTimeout, db.set.Timeout, db.set.IdleTimeout = c.ConnectTimeout, orElse(c.Timeout, time.Minute), orElse(c.IdleTimeout, 10*time.Second)
	var faults [3]error
	db.marks, faults[0] = parseTable(orElse(c.Marks, "weir_marks"))
	db.effects, faults[1] = parseTable(orElse(c.Effects, "weir_effects"))
	if min(c.MaxConns, int(c.ConnectTimeout), int(c.Timeout), int(c.IdleTimeout)) < 0 {
		faults[2] = errors.New("a number of connections and a time are not negative")
	}
	db.fault = errors.Join(faults[:]...)
	db.pool = weir.Open(f, name, db.connect)
	return db
}

func orElse[T comparable](v, otherwise T) T {
	if v == *new(T) {
		return otherwise
	}
	return v
}

// Pool returns the pool itself, for the flow's own purposes: to read a table, for
// an effect that is not transactional. It connects if nobody has.
func (db *DB) Pool(ctx context.Context) (*pgxpool.Pool, error) { return db.pool.Get(ctx) }

// connect opens the pool and a first connection.
func (db *DB) connect(ctx context.Context) (*pgxpool.Pool, func() error, error) {
	if db.fault != nil {
		return nil, nil, db.fault
	}
	c, err := parse(&db.set)
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, db.set.Timeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, nil, explain(err)
	}
	return pool, func() error { pool.Close(); return nil }, nil
}

// parse makes the pool's configuration of ours.
func parse(set *Config) (*pgxpool.Config, error) {
	if set.DSN == "" {
		return nil, errors.New("the DSN is empty: want postgres://user@host/database?sslmode=… or \"host=… dbname=…\"")
	}
	c, err := pgxpool.ParseConfig(string(set.DSN))
	if err != nil {
		// The parser's own words may hold a part of a password.
		if file, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, fmt.Errorf("the DSN names a file: %w", file)
		}
		return nil, errors.New("the DSN cannot be understood: want postgres://user@host/database?sslmode=… or \"host=… dbname=…\"; in a URL, characters of a password such as @ : / are written %40 %3A %2F")
	}
	if set.MaxConns > 0 {
		c.MaxConns = int32(min(set.MaxConns, 1<<20))
	}
	if set.ConnectTimeout > 0 {
		c.ConnConfig.ConnectTimeout = set.ConnectTimeout
	} else if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	params := c.ConnConfig.RuntimeParams
	params["client_encoding"] = "UTF8" // as Go's strings are
	params["application_name"] = orElse(params["application_name"], "weir")
	if set.Configure != nil {
		set.Configure(c)
	}
	return c, checkTLS(c.ConnConfig, set.TLS)
}

// begin is how transactions begin: with the limits after which the server ends
// them, and durable when their commit is answered, whatever is usual here. A lock is
// waited for at most as long as given; zero means as long as a statement may take.
func (db *DB) begin(isolation pgx.TxIsoLevel, lock time.Duration) pgx.TxOptions {
	idle := db.set.IdleTimeout
	probe := max(1, int64(idle/(6*time.Second)))
	return pgx.TxOptions{BeginQuery: fmt.Sprintf("begin isolation level %s"+
		"; set local statement_timeout = %d; set local lock_timeout = %d; set local idle_in_transaction_session_timeout = %d"+
		// Neither ends a statement that waits for its data. A machine that answers no
		// probe of TCP is gone.
		"; set local tcp_keepalives_idle = %d; set local tcp_keepalives_interval = %d; set local tcp_keepalives_count = 3"+
		"; select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'",
		isolation, milliseconds(db.set.Timeout), milliseconds(lock), milliseconds(idle), 3*probe, probe)}
}

// milliseconds returns d as a setting of the server, rounded up: its zero would mean
// no limit.
func milliseconds(d time.Duration) int64 {
	return min(int64((d+time.Millisecond-1)/time.Millisecond), math.MaxInt32)
}
