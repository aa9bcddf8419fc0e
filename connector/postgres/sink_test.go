package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
)

type trade struct {
	ID     int64
	Symbol string
	Cents  int64
	Note   *string `db:"remark"`
	At     time.Time
	Skip   string `db:"-"`
}

const tradesDDL = `create table trades (
	id bigint primary key, symbol text not null, cents integer check (cents >= 0), remark text, at timestamptz not null, entered timestamptz default now())`

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func trades(n int) []trade {
	out := make([]trade, n)
	for i := range out {
		out[i] = trade{ID: int64(i + 1), Symbol: "ABC", Cents: int64(100 * (i + 1)), At: noon.Add(time.Duration(i) * time.Second)}
		if i%2 == 1 {
			note := "a\tb\\\n\"c\""
			out[i].Note = &note
		}
	}
	return out
}

// into is a flow of trades into a sink.
func into(values []trade, c postgres.Config, sink func(*postgres.DB) *postgres.Sink[trade], dead func(weir.Failed[trade]), opts ...weir.SinkOption) *weir.Definition {
	return weir.Define("trading", func(f *weir.Flow) {
		db := postgres.Open(f, "db", c)
		in := weir.From(f, "trades", weir.Slice(values))
		weir.Into(in, "ledger", weir.ExactlyOnce(sink(db)), opts...)
		if dead != nil {
			weir.Each(weir.DeadLetters(in, "ledger"), "dead", func(_ context.Context, d weir.Failed[trade]) error { dead(d); return nil })
		}
	})
}

var everyWay = map[string]func(*postgres.DB) *postgres.Sink[trade]{
	"insert": func(db *postgres.DB) *postgres.Sink[trade] { return postgres.Insert[trade](db, "trades") },
	"upsert": func(db *postgres.DB) *postgres.Sink[trade] { return postgres.Upsert[trade](db, "trades", "id") },
	"copy":   func(db *postgres.DB) *postgres.Sink[trade] { return postgres.Copy[trade](db, "public.trades") },
}

// Every way of writing gets every row into the table, once.
func TestRows(t *testing.T) {
	for name, sink := range everyWay {
		t.Run(name, func(t *testing.T) {
			b := newBase(t, tradesDDL)
			sum, err := into(trades(3000), b.config(), sink, nil).Run(t.Context(), weir.Options{Logger: quiet})
			if err != nil || sum.Out != 3000 {
				t.Fatalf("%+v, %v", sum, err)
			}
			if n, ids := b.number("select count(*) from trades"), b.number("select count(distinct id) from trades"); n != 3000 || ids != 3000 {
				t.Errorf("%d rows of %d trades", n, ids)
			}
			got := b.texts("select id, symbol, cents, remark, at at time zone 'UTC' from trades order by id limit 2")
			want := []string{`(1,ABC,100,,"2026-03-01 12:00:00")`, "(2,ABC,200,\"a\tb\\\\\n\"\"c\"\"\",\"2026-03-01 12:00:01\")"}
			if !slices.Equal(got, want) {
				t.Errorf("rows %q, want %q", got, want)
			}
			if marks := b.texts("select stage, epoch, mark <> '' as moved from weir_marks"); len(marks) != 1 || !strings.HasPrefix(marks[0], "(ledger,1,t") {
				t.Errorf("marks %q", marks)
			}
		})
	}
}

type color string

type point struct{ X, Y int }

type Base struct {
	ID   int64
	Tags []string
}

// An empty text is not null, also where it is the first of all.
func TestEmptyText(t *testing.T) {
	type word struct{ Text string }
	b := newBase(t, "create table words (text text not null)")
	for id, sink := range map[string]*postgres.Sink[word]{"a": postgres.Insert[word](declare(t, b.config()), "words"), "b": postgres.Copy[word](declare(t, b.config()), "words")} {
		w, err := sink.OpenTx(t.Context(), weir.At{Run: id, Stage: "words", Epoch: 1, EpochID: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), []weir.Delivery[word]{{}}, "m"); err != nil {
			t.Error(err)
		}
	}
	if n := b.number("select count(*) from words where text = ''"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// zoo has a field for each way in which a value gets into a column.
type zoo struct {
	Base
	Rank    *int32
	Flag    bool
	Small   int16
	Real    float32
	Double  float64
	Amount  float64 // numeric
	Text    string  // with what text has to escape
	Raw     []byte
	Day     time.Time // date
	Stamp   time.Time // timestamptz
	Took    time.Duration
	Color   color  // an enum
	Short   string // a domain of a domain
	Doc     point  // jsonb
	UUID    string
	Maybe   *float64
	Numbers []int32
	Hidden  string `db:"-"`
}

const zooDDL = `create table zoo (id bigint, tags text[], rank int, flag bool, small smallint, real real, double double precision, amount numeric(12,2),
	text text, raw bytea, day date, stamp timestamptz, took interval, color %s, short short, doc jsonb, uuid %s, maybe float8, numbers int[],
	twice bigint generated always as (id * 2) stored, serial bigserial, weir_id text unique)`

// Values of every kind of column come back as they went, in binary and, where a
// type has no other form, in text.
func TestTypes(t *testing.T) {
	half := 0.5
	rank := int32(7)
	values := []zoo{
		{
			Base: Base{1, []string{"a", "b\"c,", ""}}, Rank: &rank, Flag: true, Small: -3, Real: 1.5, Double: 1e300, Amount: 12.34, Text: "tab\t back\\ line\n\r end \\N ü",
			Raw: []byte{0, 1, '\\', 255}, Day: noon.Truncate(24 * time.Hour), Stamp: noon, Took: 90 * time.Minute, Color: "red", Short: "abc", Doc: point{1, 2},
			UUID: "00112233-4455-6677-8899-aabbccddeeff", Maybe: &half, Numbers: []int32{1, -2},
		},
		{Base: Base{ID: 2}, Day: noon.Truncate(24 * time.Hour), Stamp: noon, Color: "blue", UUID: "00112233-4455-6677-8899-aabbccddee00"},
	}
	for _, c := range []struct{ form, color, uuid string }{{"binary", "text", "text"}, {"text", "color", "text"}, {"text", "text", "uuid"}} {
		for _, how := range []string{"insert", "copy"} {
			t.Run(how+" "+c.form+" "+c.uuid, func(t *testing.T) {
				b := newBase(t, `create type color as enum ('red', 'blue')`, `create domain shorter as text check (length(value) < 9)`, `create domain short as shorter`,
					fmt.Sprintf(zooDDL, c.color, c.uuid))
				w := newWire(t, b.dir)
				w.on(func(said string) fate {
					if strings.HasPrefix(said, "copy") && !strings.HasSuffix(said, "(format "+c.form+")") {
						t.Error(said)
					}
					return pass
				})
				def := weir.Define("zoo", func(f *weir.Flow) {
					db := postgres.Open(f, "db", postgres.Config{DSN: b.dsn(w.dir, "weir")})
					sink := postgres.Insert[zoo](db, "zoo")
					if how == "copy" {
						sink = postgres.Copy[zoo](db, "zoo")
					}
					sink.DeliveryID = "weir_id"
					in := weir.From(f, "animals", weir.Slice(values))
					weir.Into(in, "zoo", weir.ExactlyOnce(sink))
					weir.Each(weir.DeadLetters(in, "zoo"), "dead", func(_ context.Context, d weir.Failed[zoo]) error { t.Errorf("%+v", d); return nil })
				})
				if _, err := def.Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
					t.Fatal(err)
				}
				rows, err := b.pool.Query(t.Context(), "select id, tags, rank, flag, small, real, double, amount, text, raw, day, stamp, took, color, short, doc, uuid, maybe, numbers from zoo order by id")
				if err != nil {
					t.Fatal(err)
				}
				got, err := pgx.CollectRows(rows, pgx.RowToStructByName[zoo])
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					got[i].Stamp = got[i].Stamp.UTC()
				}
				if diff := cmp.Diff(values, got); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
				if ids := b.texts("select twice, weir_id from zoo order by id"); len(ids) != 2 || !strings.HasPrefix(ids[0], "(2,animals.out:1@") || !strings.HasPrefix(ids[1], "(4,animals.out:2@") {
					t.Errorf("%q", ids)
				}
			})
		}
	}
}
