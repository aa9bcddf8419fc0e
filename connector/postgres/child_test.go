package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/policy"
)

// A child is this test program as the process that dies: what it does, how it
// reaches the database and where its run is come as variables.
const (
	childVar    = "WEIR_POSTGRES_CHILD"
	childDSNVar = "WEIR_POSTGRES_CHILD_DSN"
	childDirVar = "WEIR_POSTGRES_CHILD_DIR"
)

// ended is what a child returns when its run is completed.
const ended = 17

func beChild(what string) int {
	c := postgres.Config{DSN: weir.Secret(os.Getenv(childDSNVar))}
	def := map[string]func(postgres.Config) *weir.Definition{"sink": sinking, "effect": paying}[what](c)
	sum, err := def.Run(context.Background(), weir.Options{
		Dir: os.Getenv(childDirVar), Logger: quiet, Harness: &plan.Harness{Batch: 32},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "%+v\n", sum)
	return ended
}

const many, calls = 8000, 800 // trades of the sink, and of the effect

// sinking delivers trades, some of which are refused, and what is refused.
func sinking(c postgres.Config) *weir.Definition {
	type refused struct {
		ID  int64
		Why string
	}
	values := trades(many)
	for i := range values {
		if i%100 == 37 {
			values[i].Cents = -1
		}
	}
	return weir.Define("trading", func(f *weir.Flow) {
		db := postgres.Open(f, "db", c)
		in := weir.From(f, "trades", weir.Slice(values))
		weir.Into(in, "ledger", weir.ExactlyOnce(postgres.Copy[trade](db, "trades")))
		dead := weir.Map(weir.DeadLetters(in, "ledger"), "refused", func(d weir.Failed[trade]) (refused, error) {
			return refused{d.Input.ID, d.Reason}, nil
		})
		weir.Into(dead, "desk", weir.ExactlyOnce(postgres.Insert[refused](db, "refused")))
	})
}

// paying inserts a row for each trade as an effect, and delivers what that
// returned.
func paying(c postgres.Config) *weir.Definition {
	type paid struct{ ID, Number int64 }
	return weir.Define("paying", func(f *weir.Flow) {
		db := postgres.Open(f, "db", c)
		in := weir.From(f, "trades", weir.Slice(trades(calls)))
		pay := effect.Transactional("trade.pay.v1", postgres.Tx(db), func(ctx context.Context, tx pgx.Tx, v trade) (paid, error) {
			p := paid{ID: v.ID}
			err := tx.QueryRow(ctx, "insert into payments (trade) values ($1) returning number", v.ID).Scan(&p.Number)
			return p, err
		})
		done, failed := weir.Perform(in, "pay", pay, weir.Concurrency(4), policy.Retry{Max: 3, Delay: 10 * time.Millisecond})
		weir.Into(done, "paid", weir.ExactlyOnce(postgres.Insert[paid](db, "paid")))
		weir.Each(failed, "failed", func(_ context.Context, f weir.Failed[trade]) error { return errors.New(f.Reason) }, weir.OnError{Error: weir.Fail})
	})
}

// killing runs a child until its run is completed. At random messages to the
// database it is killed, which the server then gets or not; and in every third
// round, in which it gets somewhere first, at a random time. (A run that dies three
// times without getting anywhere goes on carefully, and gives up what it was at when
// it died twice.)
func killing(t *testing.T, b *base, what string, most int) (kills int) {
	t.Helper()
	w := newWire(t, b.dir)
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	for round := 0; ; round++ {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childVar+"="+what, childDSNVar+"="+string(b.dsn(w.dir, "weir")), childDirVar+"="+dir)
		var said strings.Builder
		child.Stderr = &said
		var mu sync.Mutex
		killed := false
		kill := func() {
			mu.Lock()
			defer mu.Unlock()
			if !killed {
				killed = true
				_ = child.Process.Kill() // it may have ended
			}
		}
		at, fates, later := 1+rng.IntN(60), []fate{pass, cutBefore}, time.Duration(rng.IntN(50))*time.Millisecond
		heard := 0
		timed := round%3 == 2
		var timer *time.Timer
		w.on(nil)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if kills < most {
			chosen := fates[rng.IntN(len(fates))]
			w.on(func(msg string) fate {
				mu.Lock()
				heard++
				n := heard
				if timed && n == 100 {
					timer = time.AfterFunc(later, kill)
				}
				mu.Unlock()
				if timed || n != at {
					return pass
				}
				kill()
				return chosen
			})
		}
		err := child.Wait()
		mu.Lock()
		if timer != nil {
			timer.Stop()
		}
		died := killed
		mu.Unlock()
		switch exit := (*exec.ExitError)(nil); {
		case errors.As(err, &exit) && exit.ExitCode() == ended:
			return kills
		case errors.As(err, &exit) && exit.ExitCode() == -1 && died:
			kills++
		default:
			t.Fatalf("round %d: the child ended by itself: %v\n%s", round, err, said.String())
		}
	}
}

// A process that delivers is killed again and again; in the end every row is in
// the table once, and what was refused has one dead letter.
func TestKilledSink(t *testing.T) {
	t.Parallel()
	b := newBase(t, unkeyed, `create table refused (id bigint, why text)`)
	kills := killing(t, b, "sink", 24)
	b.each(many - many/100)
	refused := many / 100
	if n, ids := b.number("select count(*) from refused"), b.number("select count(distinct id) from refused where id % 100 = 38"); n != refused || ids != refused {
		t.Errorf("%d dead letters of %d trades, want %d", n, ids, refused)
	}
	if kills < 15 {
		t.Errorf("only %d kills", kills)
	}
	t.Logf("%d kills", kills)
}

// A process with transactional effects is killed again and again; in the end every
// call has happened once, and its result is the one that was committed.
func TestKilledEffects(t *testing.T) {
	t.Parallel()
	b := newBase(t, `create table payments (number bigint generated always as identity, trade bigint)`, `create table paid (id bigint, number bigint)`)
	kills := killing(t, b, "effect", 24)
	for _, q := range []string{
		"select count(*) from payments", "select count(distinct trade) from payments", "select count(*) from weir_effects where outcome <> ''",
		"select count(*) from paid", "select count(*) from paid join payments on trade = id and payments.number = paid.number",
	} {
		if n := b.number(q); n != calls {
			t.Errorf("%s: %d, want %d", q, n, calls)
		}
	}
	if kills < 15 {
		t.Errorf("only %d kills", kills)
	}
	t.Logf("%d kills", kills)
}
