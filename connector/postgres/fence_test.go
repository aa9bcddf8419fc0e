package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/policy"
)

// each is that every trade is in the table, once.
func (b *base) each(n int) {
	b.t.Helper()
	if rows, ids := b.number("select count(*) from trades"), b.number("select count(distinct id) from trades"); rows != n || ids != n {
		b.t.Errorf("%d rows of %d trades, want %d", rows, ids, n)
	}
}

// unkeyed is a table that would take a row twice.
var unkeyed = strings.Replace(tradesDDL, " primary key", "", 1)

// A connection that is lost, whatever it was about, is only another attempt: what
// was committed without an answer is found by its mark, and nothing is doubled.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	for name, sink := range map[string]func(*postgres.DB) *postgres.Sink[trade]{"insert": everyWay["insert"], "copy": everyWay["copy"]} {
		rows := map[string]string{"insert": "insert into \"trades\"", "copy": "copy "}[name]
		for _, c := range []struct {
			n    int
			at   string
			what fate
		}{
			{3, "begin", cutBefore}, // the first two are of the open
			{4, "begin", cutAfter},
			{1, rows, cutBefore},
			{2, rows, cutBefore},
			{1, `update "weir_marks"`, cutBefore},
			{2, "commit", cutBefore}, // the first is of the open
			{2, "commit", cutAfter},
			{4, "commit", cutAfter},
		} {
			t.Run(fmt.Sprintf("%s/%s %d %d", name, c.at, c.n, c.what), func(t *testing.T) {
				t.Parallel()
				b := newBase(t, unkeyed)
				w := newWire(t, b.dir)
				heard, happened := nth(c.n, c.at, c.what)
				w.on(heard)
				def := into(trades(5000), postgres.Config{DSN: b.dsn(w.dir, "weir")}, sink, func(weir.Failed[trade]) { t.Error("a dead letter") },
					policy.Retry{Max: 3, Delay: time.Millisecond})
				if sum, err := def.Run(t.Context(), weir.Options{Logger: quiet}); err != nil || sum.Out != 5000 {
					t.Errorf("%+v, %v", sum, err)
				}
				if !happened() {
					t.Errorf("no message %s", c.at)
				}
				b.each(5000)
			})
		}
	}
}

// A run that ended not knowing what became of a commit, or of its takeover, learns
// it when it goes on.
func TestLostAnswersAcrossRuns(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ {
		for _, what := range []fate{cutBefore, cutAfter} {
			b := newBase(t, unkeyed)
			w := newWire(t, b.dir)
			heard, happened := nth(n, "commit", what)
			w.on(heard)
			o := weir.Options{Logger: quiet, Dir: t.TempDir()}
			def := into(trades(5000), postgres.Config{DSN: b.dsn(w.dir, "weir")}, everyWay["copy"], func(weir.Failed[trade]) { t.Error("a dead letter") })
			if sum, err := def.Run(t.Context(), o); err == nil || sum.Status != weir.Failing || !happened() {
				t.Fatalf("commit %d: %+v, %v", n, sum, err)
			}
			committed := b.number("select count(*) from trades")
			sum, err := def.Run(t.Context(), o)
			if err != nil || sum.Epoch != 2 || sum.Out != 5000 {
				t.Errorf("commit %d: %+v, %v", n, sum, err)
			}
			if what == cutAfter && n > 1 && committed == 0 {
				t.Errorf("commit %d was cut before it was one", n)
			}
			b.each(5000)
		}
	}
}

// owner opens a sink by hand.
func owner(t *testing.T, c postgres.Config, epoch uint64, id string) (weir.TxWriter[trade], weir.Mark, error) {
	t.Helper()
	w, err := postgres.Copy[trade](declare(t, c), "trades").OpenTx(t.Context(), weir.At{Run: "run", Stage: "ledger", Epoch: epoch, EpochID: id})
	if err != nil {
		return nil, "", err
	}
	mark, err := w.Mark(t.Context())
	return w, mark, err
}

func deliveries(values []trade) []weir.Delivery[trade] {
	out := make([]weir.Delivery[trade], len(values))
	for i, v := range values {
		out[i] = weir.Delivery[trade]{Record: event.Record[trade]{Value: v}, ID: fmt.Sprint("d", i)}
	}
	return out
}

// waiting returns once a backend waits for a lock.
func (b *base) waiting() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for b.number("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") == 0 {
		if ctx.Err() != nil {
			b.t.Fatal("nobody waits")
		}
	}
}

// An owner that is at its commit when the next one opens is waited for, and what it
// commits is counted; one that has not got so far commits nothing any more.
func TestOwnerAtItsCommit(t *testing.T) {
	for _, c := range []struct {
		name, at string
		what     fate      // of the old one's message, once the new one is there
		waits    bool      // the new one, until then
		mark     weir.Mark // that it gets
		rows     int       // of the old one
	}{
		{"it commits", "commit", pass, true, "m1", 3},
		{"it dies", "commit", cutBefore, true, "", 0},
		{"it commits and dies", "commit", cutAfter, true, "m1", 3},
		{"it is too late", `update "weir_marks"`, pass, false, "", 0},
		{"it is far behind", "copy", pass, false, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBase(t, unkeyed)
			w := newWire(t, b.dir)
			old, _, err := owner(t, postgres.Config{DSN: b.dsn(w.dir, "weir")}, 1, "a")
			if err != nil {
				t.Fatal(err)
			}
			reached, goOn := make(chan bool), make(chan bool)
			release := sync.OnceFunc(func() { close(goOn) })
			defer release()
			w.on(func(said string) fate {
				if !strings.HasPrefix(said, c.at) {
					return pass
				}
				w.on(nil)
				close(reached)
				<-goOn
				return c.what
			})
			oldSays := make(chan error)
			go func() { oldSays <- old.Commit(t.Context(), deliveries(trades(3)), "m1") }()
			<-reached
			type opened struct {
				w    weir.TxWriter[trade]
				mark weir.Mark
				err  error
			}
			comes := make(chan opened, 1)
			go func() {
				w, mark, err := owner(t, b.config(), 2, "b")
				comes <- opened{w, mark, err}
			}()
			var next opened
			if c.waits {
				b.waiting()
				select {
				case next = <-comes:
					t.Fatalf("it opened with mark %q while the old owner could commit", next.mark)
				default:
				}
				release()
				next = <-comes
			} else {
				next = <-comes
				release()
			}
			err = <-oldSays
			if next.err != nil || next.mark != c.mark || b.number("select count(*) from trades") != c.rows {
				t.Errorf("the new owner has mark %q, %v; %d rows", next.mark, next.err, b.number("select count(*) from trades"))
			}
			if (err == nil) != (c.what == pass && c.waits) || !c.waits && !errors.Is(err, postgres.ErrFenced) {
				t.Errorf("the old owner is told %v", err)
			}
			if err := old.Commit(t.Context(), deliveries(trades(3)), "m2"); !errors.Is(err, postgres.ErrFenced) || !strings.Contains(err.Error(), "in epoch 2 there, and in 1 here") {
				t.Errorf("the old owner goes on: %v", err)
			}
			if err := next.w.Commit(t.Context(), deliveries(trades(5)), "m3"); err != nil || b.number("select count(*) from trades") != c.rows+5 {
				t.Errorf("the new owner: %v", err)
			}
		})
	}
}

// A commit whose connection was lost, and which lands when the batch is tried again,
// is waited for and not repeated.
func TestCommitLandsLate(t *testing.T) {
	b := newBase(t, unkeyed)
	w := newWire(t, b.dir)
	writer, _, err := owner(t, postgres.Config{DSN: b.dsn(w.dir, "weir")}, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	heard, _ := nth(1, "commit", cutLate)
	w.on(heard)
	if err := writer.Commit(t.Context(), deliveries(trades(3)), "m1"); err == nil || errors.Is(err, postgres.ErrFenced) {
		t.Fatalf("a commit that is not answered: %v", err)
	}
	release := sync.OnceFunc(func() { close(w.late) })
	defer release()
	again := make(chan error, 1)
	go func() { again <- writer.Commit(t.Context(), deliveries(trades(3)), "m1") }()
	b.waiting()
	release()
	if err := <-again; err != nil {
		t.Errorf("it is tried again: %v", err)
	}
	if err := writer.Commit(t.Context(), deliveries(trades(5)[3:]), "m2"); err != nil {
		t.Error(err)
	}
	b.each(5)
}

// Who opens with the number of the owner, or a smaller one, is refused, unless it is
// the owner itself.
func TestOneOwner(t *testing.T) {
	b := newBase(t, unkeyed)
	for _, c := range []struct {
		epoch uint64
		id    string
		says  string
	}{
		{3, "a", ""},
		{3, "a", ""},
		{3, "b", "run run is in epoch 3 in two places; one of them is a copy"},
		{2, "c", "is in epoch 3 there, and in 2 here"},
		{4, "b", ""},
		{3, "a", "is in epoch 4 there"},
	} {
		_, _, err := owner(t, b.config(), c.epoch, c.id)
		if (err == nil) != (c.says == "") || err != nil && (!errors.Is(err, postgres.ErrFenced) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("epoch %d of %s: %v, want %q", c.epoch, c.id, err, c.says)
		}
	}
	w, _, err := owner(t, b.config(), 5, "d")
	if err != nil {
		t.Fatal(err)
	}
	b.exec("update weir_marks set mark = 'mine'")
	if err := w.Commit(t.Context(), deliveries(trades(1)), "m"); err == nil || !strings.Contains(err.Error(), "was changed from outside") {
		t.Errorf("a mark that somebody changed: %v", err)
	}
	b.exec("delete from weir_marks")
	if err := w.Commit(t.Context(), deliveries(trades(1)), "m"); !errors.Is(err, postgres.ErrFenced) || !strings.Contains(err.Error(), "has been removed") {
		t.Errorf("a mark that somebody removed: %v", err)
	}
	b.each(0)
}

// What a vanished process had begun is in the way until the server ends it, and not
// longer.
func TestVanishedOwner(t *testing.T) {
	t.Parallel()
	b := newBase(t, unkeyed)
	w := newWire(t, b.dir)
	c := postgres.Config{DSN: b.dsn(w.dir, "weir"), IdleTimeout: 2 * time.Second}
	old, _, err := owner(t, c, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	reached, goOn := make(chan bool), make(chan bool)
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	w.on(func(said string) fate {
		if said == "commit" {
			w.on(nil)
			close(reached)
			<-goOn
			return cutBefore
		}
		return pass
	})
	oldSays := make(chan error)
	go func() { oldSays <- old.Commit(t.Context(), deliveries(trades(3)), "m1") }()
	<-reached
	began := time.Now()
	c.DSN = b.dsn(b.dir, "weir")
	_, mark, err := owner(t, c, 2, "b")
	if took := time.Since(began); err != nil || mark != "" || took > 2*c.IdleTimeout+5*time.Second {
		t.Errorf("after %v: mark %q, %v", took, mark, err)
	}
	release()
	if err := <-oldSays; err == nil {
		t.Error("the vanished owner has committed")
	}
	b.each(0)
}

// Who holds the mark for longer than a server lets us is named.
func TestHeldMark(t *testing.T) {
	t.Parallel()
	b := newBase(t, unkeyed)
	c := b.config()
	c.IdleTimeout = 2 * time.Second
	if _, _, err := owner(t, c, 1, "a"); err != nil {
		t.Fatal(err)
	}
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "select from weir_marks for update"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := owner(t, c, 2, "b"); err == nil || !strings.Contains(err.Error(), "has held the mark of stage ledger for 4s: lock not available (SQLSTATE 55P03)") {
		t.Errorf("open: %v", err)
	}
}

// Of two copies of a run one delivers.
func TestCopiedRun(t *testing.T) {
	b := newBase(t, unkeyed)
	w := newWire(t, b.dir)
	heard, _ := nth(3, "commit", cutAfter)
	w.on(heard)
	def := into(trades(5000), postgres.Config{DSN: b.dsn(w.dir, "weir")}, everyWay["copy"], nil)
	one, two := t.TempDir(), t.TempDir()
	if _, err := def.Run(t.Context(), weir.Options{Logger: quiet, Dir: one}); err == nil {
		t.Fatal("the first epoch does not fail")
	}
	if err := os.CopyFS(two, os.DirFS(one)); err != nil {
		t.Fatal(err)
	}
	if sum, err := def.Run(t.Context(), weir.Options{Logger: quiet, Dir: one}); err != nil || sum.Epoch != 2 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if sum, err := def.Run(t.Context(), weir.Options{Logger: quiet, Dir: two}); err == nil || !errors.Is(err, postgres.ErrFenced) || !strings.Contains(err.Error(), "in two places") {
		t.Errorf("the copy: %+v, %v", sum, err)
	}
	// In a later epoch it takes the mark: if it has the records that the mark names,
	// there is nothing left to do, else it is told.
	sum, err := def.Run(t.Context(), weir.Options{Logger: quiet, Dir: two})
	if err == nil && sum.Out != 5000 || err != nil && !strings.Contains(err.Error(), "sink ledger is ahead of the log") {
		t.Errorf("the copy, in a later epoch: %+v, %v", sum, err)
	}
	b.each(5000)
}
