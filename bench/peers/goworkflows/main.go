// Goworkflows performs workflows of cschleiden/go-workflows with an activity for
// each step, over its SQLite backend. A workflow counts as finished when its
// function returns, a little before that is on record, since asking the backend
// would take its one connection.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cschleiden/go-workflows/backend"
	"github.com/cschleiden/go-workflows/backend/monoprocess"
	"github.com/cschleiden/go-workflows/backend/sqlite"
	"github.com/cschleiden/go-workflows/client"
	"github.com/cschleiden/go-workflows/worker"
	"github.com/cschleiden/go-workflows/workflow"

	"github.com/weirflow/weir/bench/peers/peer"
)

func main() { peer.Main(run) }

type payload struct {
	ID      uint64 `json:"id"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
	Hops    int    `json:"hops"`
}

var finished sync.Map // of chan struct{} by ID, for those who wait

func activity(_ context.Context, v payload) (payload, error) { return v, nil }

func steps(ctx workflow.Context, v payload) (payload, error) {
	for range peer.Steps {
		var err error
		if v, err = workflow.ExecuteActivity[payload](ctx, workflow.DefaultActivityOptions, activity, v).Get(ctx); err != nil {
			return v, err
		}
	}
	if c, ok := finished.LoadAndDelete(v.ID); ok {
		close(c.(chan struct{}))
	}
	return v, nil
}

func run(ctx context.Context, t *peer.Task) (string, error) {
	file := filepath.Join(t.Dir, "workflows.db")
	b := monoprocess.NewMonoprocessBackend(sqlite.NewSqliteBackend(file, sqlite.WithBackendOptions(backend.WithLogger(slog.New(slog.DiscardHandler)))))
	sync, err := pragmas(ctx, file)
	if err != nil {
		return "", err
	}
	ctx, stop := context.WithCancel(ctx)
	o := worker.DefaultOptions
	o.SingleWorkerMode = true
	o.WorkflowPollingInterval, o.ActivityPollingInterval = time.Millisecond, time.Millisecond
	o.WorkflowExecutorCacheSize = max(o.WorkflowExecutorCacheSize, 4*t.Concurrent)
	w := worker.New(b, &o)
	if err := w.RegisterWorkflow(steps); err != nil {
		stop()
		return "", err
	}
	if err := w.RegisterActivity(activity); err != nil {
		stop()
		return "", err
	}
	if err := w.Start(ctx); err != nil {
		stop()
		return "", err
	}
	c := client.New(b)
	err = t.Each(func(i int) error {
		v := payload{ID: uint64(i), Account: "DE-4711", Cents: 1234}
		done := make(chan struct{})
		finished.Store(v.ID, done)
		if _, err := c.CreateWorkflowInstance(ctx, client.WorkflowInstanceOptions{InstanceID: strconv.Itoa(i)}, steps, v); err != nil {
			return err
		}
		<-done
		return nil
	})
	stop()
	return sync, err
}

// pragmas says how durable a commit is: go-workflows sets the journal mode only, and
// a new connection has SQLite's defaults for the rest.
func pragmas(ctx context.Context, file string) (string, error) {
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		return "", err
	}
	defer db.Close()
	var mode string
	var synchronous int
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return "", err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return "", err
	}
	return fmt.Sprintf("PRAGMA journal_mode = %s, synchronous = %d (2 is FULL: the WAL is synced by each commit)", mode, synchronous), nil
}
