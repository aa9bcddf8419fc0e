package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/policy"
)

// A reading is a payload that can tell that it is not acceptable.
type reading struct{ Celsius float64 }

func (r reading) Validate() error {
	if r.Celsius < -273 {
		return errors.New("colder than possible")
	}
	return nil
}

// What a source cannot accept is a dead letter with what is known of it.
func TestBadInput(t *testing.T) {
	nan := 0.0
	nan /= nan
	rows := weir.SourceFunc[reading](func(context.Context, weir.Position) iter.Seq2[weir.Batch[reading], error] {
		return func(yield func(weir.Batch[reading], error) bool) {
			yield(weir.Batch[reading]{
				Values:   []reading{{20}, {-300}, {nan}, {21}},
				Bad:      []weir.Bad{{Raw: []byte("warm"), Err: errors.New("no number")}, {Raw: []byte("?")}},
				Position: "1",
			}, nil)
		}
	})
	var good memo[reading]
	var bad memo[weir.Failed[[]byte]]
	sum, err := weir.Define("readings", func(f *weir.Flow) {
		weir.Each(weir.From(f, "in", rows), "good", good.add)
		weir.Each(weir.BadInput(f, "in"), "bad", bad.add)
	}).Run(t.Context(), weir.Options{Logger: quiet})
	if err != nil || sum.Dead != 4 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if !slices.Equal(good.all, []reading{{20}, {21}}) {
		t.Errorf("good = %v", good.all)
	}
	var got []string
	for _, d := range bad.all {
		got = append(got, fmt.Sprintf("%s %q %s", d.Kind, d.Input, d.Reason))
	}
	want := []string{
		`validation "{\"Celsius\":-300}" colder than possible`,
		`validation "" emit to out: validation: encode reading as json: Celsius is NaN, which JSON cannot hold; use a pointer for a number that may be absent`,
		`decode "warm" no number`,
		`decode "?" the source could not decode it and did not say why`,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("bad input (-want +got):\n%s", diff)
	}
}

// A queue fails once in a while, knows how many there are and wants to be told
// what is durable.
type queue struct {
	fails int
	from  []weir.Position
	acked []weir.Position
	more  int64
}

func (q *queue) Read(_ context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
	q.from = append(q.from, after)
	return func(yield func(weir.Batch[int], error) bool) {
		n, _ := strconv.Atoi(string(after)) // "" is the beginning
		for n++; n <= 4; n++ {
			if n == 3 && q.fails > 0 {
				q.fails--
				yield(weir.Batch[int]{}, errors.New("connection lost"))
				return
			}
			if !yield(weir.Batch[int]{Values: []int{n}, Position: weir.Position(strconv.Itoa(n))}, nil) {
				return
			}
		}
	}
}

func (q *queue) Ack(_ context.Context, upTo weir.Position) error {
	q.acked = append(q.acked, upTo)
	return nil
}

func (q *queue) Expect(context.Context) (int64, bool, error) { return 4 + q.more, true, nil }

func TestSourceIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{fails: 2}
		var got memo[int]
		def := weir.Define("queue", func(f *weir.Flow) {
			weir.Each(weir.From(f, "in", q, policy.Retry{Max: 3, Delay: time.Minute}), "out", got.add)
		})
		sum, err := def.Run(t.Context(), weir.Options{Logger: quiet})
		if err != nil || sum.In != 4 || sum.Took < 3*time.Minute {
			t.Errorf("%+v, %v", sum, err)
		}
		if diff := gocmp.Diff([]weir.Position{"", "2", "2"}, q.from); diff != "" {
			t.Errorf("read after (-want +got):\n%s", diff)
		}
		if !slices.Equal(got.all, []int{1, 2, 3, 4}) {
			t.Errorf("delivered %v", got.all)
		}
		if len(q.acked) == 0 || q.acked[len(q.acked)-1] != "4" || !slices.IsSorted(q.acked) {
			t.Errorf("acknowledged %q", q.acked)
		}
	})
}

func TestSourceThatFailsForEver(t *testing.T) {
	q := &queue{fails: 1}
	sum, err := weir.Define("queue", func(f *weir.Flow) { weir.Each(weir.From(f, "in", q), "out", ignore) }).
		Run(t.Context(), weir.Options{Logger: quiet})
	if err == nil || sum.Status != weir.Failing || sum.Stage != "in" || !strings.Contains(err.Error(), "connection lost") {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestSourceThatHasLessThanItSaid(t *testing.T) {
	q := &queue{more: 1}
	sum, err := weir.Define("queue", func(f *weir.Flow) { weir.Each(weir.From(f, "in", q), "out", ignore) }).
		Run(t.Context(), weir.Options{Logger: quiet})
	if err == nil || sum.Status != weir.Failing || !strings.Contains(err.Error(), "expected 5, found 4") {
		t.Errorf("%+v, %v", sum, err)
	}
}

// Sources of this package go on after what was recorded.
func TestSourcesContinue(t *testing.T) {
	numbers := make([]int, 700)
	for i := range numbers {
		numbers[i] = i
	}
	for name, src := range map[string]weir.Source[int]{"slice": weir.Slice(numbers), "seq": weir.Seq(slices.Values(numbers))} {
		t.Run(name, func(t *testing.T) {
			var last lasting
			var got memo[int]
			fail := true
			def := weir.Define("numbers", func(f *weir.Flow) {
				weir.Each(weir.From(f, "in", src), "out", func(ctx context.Context, n int) error {
					if fail && n == 300 {
						panic("stop here")
					}
					return got.add(ctx, n)
				})
			})
			if sum, err := def.Run(t.Context(), last.options()); err == nil {
				t.Fatalf("first epoch: %+v", sum)
			}
			fail = false
			if sum, err := def.Run(t.Context(), last.options()); err != nil || sum.In != 700 || sum.Out != 700 {
				t.Fatalf("second epoch: %+v, %v", sum, err)
			}
			slices.Sort(got.all)
			if !slices.Equal(slices.Compact(got.all), numbers) {
				t.Errorf("delivered %d numbers", len(got.all))
			}
		})
	}
}

func TestSourceThatShrank(t *testing.T) {
	read := func(src weir.Source[int], after weir.Position) (err error) {
		for _, err = range src.Read(t.Context(), after) {
		}
		return err
	}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"slice":    {read(weir.Slice([]int{1, 2}), "3"), "the run stood at element 3, but the slice has only 2 now"},
		"seq":      {read(weir.Seq(slices.Values([]int{1, 2})), "3"), "the run stood after 3 values, but the sequence yields only 2 now"},
		"position": {read(weir.Slice([]int{1, 2}), "x"), `position "x" is not a number of values`},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", name, tt.err, tt.want)
		}
	}
}

var _ event.Validator = reading{}
