package main

import (
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir/internal/pgtest"
)

// Each commit of a connection that has ended is in the server's count.
func TestSyncsOfPostgres(t *testing.T) {
	ctx := t.Context()
	p, err := newPostgres(ctx)
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv(pgtest.Needs) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	count := func(commits int) int {
		before, err := p.syncs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		dsn, drop, err := p.database(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exec(ctx, "create table t (n int)"); err != nil {
			t.Fatal(err)
		}
		for range commits {
			if _, err := c.Exec(ctx, "insert into t values (1)"); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(c.Close(ctx), drop()); err != nil {
			t.Fatal(err)
		}
		after, err := p.syncs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return after - before
	}
	const some = 50
	if few, many := count(some), count(3*some); many-few < 2*some-some/5 || many-few > 2*some+some {
		t.Errorf("%d commits more took %d syncs more", 2*some, many-few)
	}
}
