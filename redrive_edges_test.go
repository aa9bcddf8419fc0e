package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/csvfile"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/event"
)

// A shelf is a sink that keeps what it is given, but for what it has no room for.
type shelf struct {
	full bool
	at   weir.At
	got  []weir.Delivery[string]
	all  map[string]int // attempts by id
}

func (s *shelf) Open(_ context.Context, at weir.At) (weir.Writer[string], error) {
	s.at = at
	return s, nil
}

func (s *shelf) Deliver(_ context.Context, batch []weir.Delivery[string]) error {
	failed := map[int]error{}
	for i, d := range batch {
		if s.all == nil {
			s.all = map[string]int{}
		}
		s.all[d.ID]++
		if s.full && len(d.Value) > 3 {
			failed[i] = errors.New("no room")
			continue
		}
		s.got = append(s.got, d)
	}
	if len(failed) > 0 {
		return &weir.PartialError{Failed: failed}
	}
	return nil
}

func (s *shelf) Close() error { return nil }

// What a sink refused is delivered again under the id that it had, and the sink knows
// that it adds to what it has.
func TestRedriveDeliveries(t *testing.T) {
	s := &shelf{full: true}
	def := weir.Define("shelves", func(f *weir.Flow) {
		weir.Into(weir.From(f, "books", weir.Slice([]string{"a", "long", "bc", "longer"})), "shelve", weir.Sink[string](s))
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	if was.Dead != 2 || s.at.Redrives != "" {
		t.Fatalf("%+v, %+v", was, s.at)
	}
	s.full, s.got = false, nil
	sum := redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "shelve"})
	if len(s.got) != 2 || s.got[0].Value != "long" || s.got[0].Ref.String() != "books.out:2" || s.got[1].Ref.String() != "books.out:4" || sum.Out != 2 {
		t.Errorf("delivered %+v: %+v", s.got, sum)
	}
	for _, d := range s.got {
		if !d.Time.Before(d.Recorded) {
			t.Errorf("%s has the time %v, at which it entered again", d.Ref, d.Time)
		}
		if s.all[d.ID] != 2 {
			t.Errorf("%s was given to the sink under another id before: %v", d.ID, s.all)
		}
	}
	if s.at.Redrives != was.Run || s.at.Run != sum.Run {
		t.Errorf("the sink was opened at %+v", s.at)
	}
}

// A file of a recorded run stays, and what is redriven is in one beside it.
func TestRedriveWritesBeside(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.jsonl")
	if err := os.WriteFile(in, []byte("{\"text\":\"a\"}\noops\n{\"text\":\"b\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Text string `json:"text" csv:"text"`
	}
	broken := true
	def := weir.Define("lines", func(f *weir.Flow) {
		lines := weir.Map(weir.From(f, "lines", jsonl.Read[line](in)), "check", func(l line) (line, error) {
			if broken && l.Text == "b" {
				return l, errors.New("no b")
			}
			return l, nil
		})
		weir.Into(lines, "csv", csvfile.Write[line](filepath.Join(dir, "out.csv")))
		weir.Into(lines, "json", jsonl.Write[line](filepath.Join(dir, "out.jsonl")))
		more := jsonl.Write[line](filepath.Join(dir, "all.jsonl"))
		more.Append = true
		weir.Into(lines, "append", more)
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	broken = false
	sum := redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "check"})
	for name, want := range map[string]string{
		"out.csv": "text\na\n", "out.csv." + sum.Run: "text\nb\n", "out.jsonl": "{\"text\":\"a\"}\n", "out.jsonl." + sum.Run: "{\"text\":\"b\"}\n",
		"all.jsonl": "{\"text\":\"a\"}\n{\"text\":\"b\"}\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
}

// parsed is a payload with an opinion.
type parsed struct {
	N int `json:"n" csv:"n"`
}

var most = 10

func (p parsed) Validate() error {
	if p.N > most {
		return fmt.Errorf("%d is too many", p.N)
	}
	return nil
}

// Bad rows go through the decoder as it is now; what is bad again is a dead letter
// again, as it came.
func TestRedriveBadRows(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	lines := write("n.jsonl", "{\"n\":1}\n{\"n\":\"x\"}\n{\"n\":11}\nno\n"+strings.Repeat("y", 2<<20)+"\n")
	table := write("n.csv", "other,n\na,1\nb,x\nc,11\nd\n")
	for name, src := range map[string]func() weir.Source[parsed]{
		"jsonl": func() weir.Source[parsed] { return jsonl.Read[parsed](lines) },
		"stream": func() weir.Source[parsed] {
			return jsonl.From[parsed]("n", strings.NewReader(must(os.ReadFile(lines))))
		},
		"csv": func() weir.Source[parsed] { return csvfile.Read[parsed](table) },
	} {
		t.Run(name, func(t *testing.T) {
			var got memo[int]
			def := weir.Define("numbers", func(f *weir.Flow) {
				ns := weir.From(f, "rows", src())
				weir.Each(ns, "say", func(_ context.Context, p parsed) error { got.keep(p.N); return nil })
			})
			data := t.TempDir()
			most = 10
			was := runOf(t, def, data)
			if !slices.Equal(got.all, []int{1}) {
				t.Fatalf("%+v, said %v", was, got.all)
			}
			still := redriveOf(t, def, data, weir.Letters{Run: was.Run, Refs: []event.Ref{{Stage: "rows", Port: "dead", Seq: 2}}})
			input := func(s string) string { return strings.SplitN(s, `"`, 5)[3] }
			if old, now := payloadsOf(t, was.Dir, "rows.dead")[1], payloadsOf(t, still.Dir, "rows.dead"); len(now) != 1 || input(now[0]) != input(old) {
				t.Errorf("refused once more, the dead letter was %q and is %q", old, now)
			}
			most, got.all = 100, nil
			sum := redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "rows", Again: true})
			if !slices.Equal(got.all, []int{11}) || sum.In != 1 || sum.Dead != 2 {
				t.Errorf("said %v: %+v", got.all, sum)
			}
			old, now := payloadsOf(t, was.Dir, "rows.dead"), payloadsOf(t, sum.Dir, "rows.dead")
			if len(now) != 2 || input(now[0]) != input(old[0]) || input(now[1]) != input(old[2]) {
				t.Errorf("dead letters were %q and are %q", old, now)
			}
			if why := whyOf(t, sum.Dir, "say.receipts:1"); !slices.Equal(why, []string{"rows.out:1", " rows.dead:2 " + was.Run, "  position"}) {
				t.Errorf("why: %q", why)
			}
			if name == "csv" {
				return
			}
			_, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Refs: []event.Ref{{Stage: "rows", Port: "dead", Seq: 4}}}, weir.Options{Dir: data, Logger: quiet})
			if err == nil || !strings.Contains(err.Error(), "only the beginning is on record") {
				t.Errorf("a row that is too long: %v", err)
			}
		})
	}
}

func must(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A source that cannot decode a row by itself can still be given what a payload
// refused to be.
func TestRedriveRowsOfOtherSources(t *testing.T) {
	rows := weir.SourceFunc[parsed](func(context.Context, weir.Position) iter.Seq2[weir.Batch[parsed], error] {
		return func(yield func(weir.Batch[parsed], error) bool) {
			yield(weir.Batch[parsed]{Values: []parsed{{1}, {11}}, Bad: []weir.Bad{{Raw: []byte("?"), Err: errors.New("no number")}}}, nil)
		}
	})
	for _, codec := range []event.Codec{event.JSON, event.CBOR} {
		var got memo[int]
		def := weir.Define("numbers", func(f *weir.Flow) {
			f.Codec(codec)
			weir.Each(weir.From[parsed](f, "rows", rows), "say", func(_ context.Context, p parsed) error { got.keep(p.N); return nil })
		})
		data := t.TempDir()
		most = 10
		was := runOf(t, def, data)
		most, got.all = 100, nil
		sum := redriveOf(t, def, data, weir.Letters{Run: was.Run, Stage: "rows"})
		if !slices.Equal(got.all, []int{11}) || sum.Dead != 0 {
			t.Errorf("said %v: %+v", got.all, sum)
		}
		_, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "rows"}, weir.Options{Dir: data, Logger: quiet})
		if !errors.Is(err, weir.ErrNoLetters) || !strings.Contains(err.Error(), "DecodeRows") || !strings.Contains(err.Error(), "takes 1 of them") {
			t.Errorf("what is left: %v", err)
		}
	}
}

// decoded is a source that can decode a row by itself.
type decoded struct{ weir.SourceFunc[parsed] }

func (decoded) DecodeRows(context.Context) (func(raw []byte) (parsed, error), error) {
	return func([]byte) (parsed, error) { return parsed{1}, nil }, nil
}

// Of a bad row that the source did not hand in nothing can be read again.
func TestRedriveRowsThatAreNotOnRecord(t *testing.T) {
	rows := decoded{func(context.Context, weir.Position) iter.Seq2[weir.Batch[parsed], error] {
		return func(yield func(weir.Batch[parsed], error) bool) {
			yield(weir.Batch[parsed]{Bad: []weir.Bad{{Err: errors.New("cut off")}}}, nil)
		}
	}}
	def := weir.Define("numbers", func(f *weir.Flow) {
		weir.Each(weir.From[parsed](f, "rows", rows), "say", func(context.Context, parsed) error { return nil })
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	_, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "rows"}, weir.Options{Dir: data, Logger: quiet})
	if !errors.Is(err, weir.ErrNoLetters) || !strings.Contains(err.Error(), "the row is not on record") {
		t.Errorf("%v", err)
	}
}
