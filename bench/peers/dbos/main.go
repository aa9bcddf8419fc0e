// Dbos performs steps of DBOS workflows: RunWorkflow from so many goroutines, each
// waiting for its result.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/weirflow/weir/bench/peers/peer"
)

func main() { peer.Main(run) }

// A payload is what Weir's steps get and return, too.
type payload struct {
	ID      uint64 `json:"id"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
	Hops    int    `json:"hops"`
}

func workflow(ctx dbos.Context, v payload) (payload, error) {
	for _, step := range []string{"one", "two", "three"} {
		var err error
		if v, err = dbos.RunAsStep(ctx, func(context.Context) (payload, error) { return v, nil }, dbos.WithStepName(step)); err != nil {
			return v, err
		}
	}
	return v, nil
}

func run(ctx context.Context, t *peer.Task) (sync string, err error) {
	config := dbos.Config{AppName: "bench", Logger: slog.New(slog.DiscardHandler)}
	if t.Postgres != "" {
		c, err := pgxpool.ParseConfig(t.Postgres)
		if err != nil {
			return "", err
		}
		c.MaxConns = int32(t.Concurrent + 8)
		pool, err := pgxpool.NewWithConfig(ctx, c)
		if err != nil {
			return "", err
		}
		defer pool.Close()
		if sync, err = peer.PostgresSync(ctx, pool); err != nil {
			return "", err
		}
		config.SystemDBPool = pool
	} else if t.Unsynced {
		config.DatabaseURL = "sqlite:" + filepath.Join(t.Dir, "dbos.db")
		sync = "PRAGMA synchronous = NORMAL, set by DBOS: the WAL is synced at checkpoints only"
	} else {
		// DBOS sets NORMAL on a connection of its pool whatever the URL says, so it gets
		// a pool of ours, with its own settings but for that.
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.Dir, "dbos.db")+
			"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=foreign_keys(ON)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
		if err != nil {
			return "", err
		}
		defer db.Close()
		db.SetMaxOpenConns(8)
		db.SetMaxIdleConns(8)
		config.SQLiteSystemDB = db
		sync = "PRAGMA synchronous = FULL: the WAL is synced by each commit"
	}
	c, err := dbos.NewContext(ctx, config)
	if err != nil {
		return "", err
	}
	dbos.RegisterWorkflow(c, workflow)
	if err := dbos.Launch(c); err != nil {
		return "", err
	}
	defer dbos.Shutdown(c, 5*time.Second)
	return sync, t.Each(func(i int) error {
		h, err := dbos.RunWorkflow(c, workflow, payload{ID: uint64(i), Account: "DE-4711", Cents: 1234})
		if err != nil {
			return err
		}
		got, err := h.GetResult()
		if err == nil && got.ID != uint64(i) {
			err = fmt.Errorf("workflow %d returned %d", i, got.ID)
		}
		return err
	})
}
