// Temporal performs workflows of Temporal, with an activity for each step, over its
// server in this process with SQLite.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/weirflow/weir/bench/peers/peer"
)

func main() { peer.Main(run) }

type payload struct {
	ID      uint64 `json:"id"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
	Hops    int    `json:"hops"`
}

func activity(_ context.Context, v payload) (payload, error) { return v, nil }

func steps(ctx workflow.Context, v payload) (payload, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for range peer.Steps {
		if err := workflow.ExecuteActivity(ctx, activity, v).Get(ctx, &v); err != nil {
			return v, err
		}
	}
	return v, nil
}

const queue = "bench"

func run(ctx context.Context, t *peer.Task) (string, error) {
	address, stop, err := serve(filepath.Join(t.Dir, "temporal.db"))
	if err != nil {
		return "", err
	}
	defer stop()
	c, err := dial(ctx, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflow(steps)
	w.RegisterActivity(activity)
	if err := w.Start(); err != nil {
		return "", err
	}
	defer w.Stop()
	return "PRAGMA journal_mode = wal, synchronous = 2 (FULL: the WAL is synced by each commit)", t.Each(func(i int) error {
		r, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: queue}, steps, payload{ID: uint64(i), Account: "DE-4711", Cents: 1234})
		if err != nil {
			return err
		}
		var got payload
		if err := r.Get(ctx, &got); err != nil {
			return err
		}
		if got.ID != uint64(i) {
			return fmt.Errorf("workflow %d returned %d", i, got.ID)
		}
		return nil
	})
}

// dial waits until the server answers.
func dial(ctx context.Context, address string) (c client.Client, err error) {
	for range 100 {
		c, err = client.DialContext(ctx, client.Options{HostPort: address, Namespace: namespace, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))})
		if err == nil {
			return c, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}
