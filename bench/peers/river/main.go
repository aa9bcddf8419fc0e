// River performs resumable jobs of River whose steps are checkpointed in a
// transaction each (ResumableSetStepTx). All jobs are inserted before the clock
// starts; it stops when the last was worked.
package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/weirflow/weir/bench/peers/peer"
)

func main() { peer.Main(run) }

type payload struct {
	ID      uint64 `json:"id"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
	Hops    int    `json:"hops"`
}

func (payload) Kind() string { return "payload" }

type worker struct {
	river.WorkerDefaults[payload]
	pool *pgxpool.Pool
}

func (w *worker) Work(ctx context.Context, job *river.Job[payload]) error {
	for _, step := range []string{"one", "two", "three"} {
		river.ResumableStep(ctx, step, nil, func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
				_, err := river.ResumableSetStepTx[*riverpgxv5.Driver](ctx, tx, job)
				return err
			})
		})
	}
	return nil
}

func run(ctx context.Context, t *peer.Task) (sync string, err error) {
	if t.Postgres == "" {
		return "", errors.New("River needs PostgreSQL")
	}
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
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return "", err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return "", err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{pool: pool})
	client, err := river.NewClient(driver, &river.Config{
		Logger: slog.New(slog.DiscardHandler), Workers: workers,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: t.Concurrent}},
		FetchCooldown: river.FetchCooldownMin, FetchPollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		return "", err
	}
	n := t.Warm() + t.Inputs
	jobs := make([]river.InsertManyParams, n)
	for i := range jobs {
		jobs[i].Args = payload{ID: uint64(i), Account: "DE-4711", Cents: 1234}
	}
	for from := 0; from < n; from += 1000 {
		if _, err := client.InsertManyFast(ctx, jobs[from:min(from+1000, n)]); err != nil {
			return "", err
		}
	}
	events, cancel := client.SubscribeConfig(&river.SubscribeConfig{
		Kinds: []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed}, ChanSize: n,
	})
	defer cancel()
	if err := client.Start(ctx); err != nil {
		return "", err
	}
	for i := range n {
		if e := <-events; e.Kind != river.EventKindJobCompleted {
			return "", errors.New("a job failed")
		}
		if i+1 == t.Warm() {
			t.Begin()
		}
	}
	t.End()
	return sync, client.Stop(ctx)
}
