package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/csvfile"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/policy"
)

// A life is what one process does with a run: it begins, or goes on with, the run
// until leave, which may stop it, cancel it or take the disk away, and returns how it
// ended. A nil leave waits for the end.
type life struct {
	disk *vfs.Memory
	dir  string // of the run
	last weir.Summary
	err  error
	die  atomic.Pointer[func()] // has the process die; for what runs in it
}

func (l *life) live(t *testing.T, def *weir.Definition, leave func(r *weir.Run, world *vfs.Faults)) {
	t.Helper()
	world := vfs.NewFaults(l.disk, nil)
	o := weir.Options{Dir: "/data", Logger: quiet, SegmentSize: 64 << 10, CheckpointBytes: 16 << 10, Harness: &plan.Harness{FS: world, Batch: 4}}
	if l.dir != "" {
		o.Run = filepath.Base(l.dir)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	die := func() { world.Stop(); cancel() }
	l.die.Store(&die)
	r, err := def.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if leave != nil {
		leave(r, world)
	}
	l.last, l.err = r.Wait()
	l.dir = l.last.Dir
	if world.Stopped() {
		l.disk = l.disk.Kill()
	}
	l.die.Store(nil)
}

// dies has the process die, if there is one.
func (l *life) dies() {
	if die := l.die.Load(); die != nil {
		(*die)()
	}
}

func (l *life) is(t *testing.T, want weir.Status) {
	t.Helper()
	if l.last.Status != want {
		t.Fatalf("the run is %+v, %v; want %s", l.last, l.err, want)
	}
}

// slowly reads numbers, one a second in virtual time.
func slowly(n int) weir.Source[int] {
	return weir.SourceFunc[int](func(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			from := 0
			if after != "" {
				_, _ = fmt.Sscan(string(after), &from)
			}
			for i := from; i < n; i++ {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return
				}
				if !yield(weir.Batch[int]{Values: []int{i}, Position: weir.Position(strconv.Itoa(i + 1))}, nil) {
					return
				}
			}
		}
	})
}

// A book holds what readers must not share, in a codec that is no JSON.
type book struct {
	Title string
	Pages []int
	Notes map[string]string
	Owner *string
}

// Runs of every kind are verified as identical, and so are their replays, which are
// the runs that they replay.
func TestVerifyRunsOfEveryKind(t *testing.T) {
	everySecond := func(l *life, n int) func(*weir.Run, *vfs.Faults) {
		return func(r *weir.Run, _ *vfs.Faults) {
			time.Sleep(time.Duration(n)*time.Second + time.Millisecond)
			if err := stopRun(r); err != nil {
				panic(err)
			}
		}
	}
	for name, record := range map[string]func(t *testing.T, l *life) *weir.Definition{
		"dead letters that are read": func(t *testing.T, l *life) *weir.Definition {
			def := weir.Define("letters", func(f *weir.Flow) {
				in := weir.From(f, "in", weir.Slice(shopOrders(50)))
				ok := weir.Map(in, "check", func(o verOrder) (verOrder, error) {
					if o.Total%7 == 3 {
						return o, event.Invalid(errors.New("a three"))
					}
					return o, nil
				})
				again := weir.Map(weir.DeadLetters(in, "check"), "again", func(l weir.Failed[verOrder]) (string, error) {
					return l.Reason + " " + l.Input.ID, nil
				})
				weir.Each(again, "read", func(context.Context, string) error { return nil })
				top := weir.TopN(weir.All(ok), "top", 3, func(o verOrder) string { return o.ID }, func(a, b verOrder) int { return b.Total - a.Total }, weir.EmitOnChange())
				weir.Each(top, "tell", func(context.Context, weir.Ranking[verOrder]) error { return nil })
				weir.Each(weir.Map(weir.Records(ok), "when", func(r event.Record[verOrder]) (string, error) {
					return fmt.Sprint(r.Ref, " ", r.Recorded.UnixNano(), " ", r.Value.ID), nil
				}), "note", func(context.Context, string) error { return nil })
			})
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			return def
		},
		"payloads that are copied, in CBOR": func(t *testing.T, l *life) *weir.Definition {
			def := weir.Define("books", func(f *weir.Flow) {
				f.Codec(event.CBOR)
				var all []book
				owner := "ann"
				for i := range 40 {
					b := book{Title: fmt.Sprint("t", i%9), Pages: []int{i, i + 1}, Notes: map[string]string{"a": "b", "c": strconv.Itoa(i)}}
					if i%3 == 0 {
						b.Owner = &owner
					}
					all = append(all, b)
				}
				in := weir.From(f, "in", weir.Slice(all))
				torn := weir.FlatMap(in, "tear", func(b book, emit weir.Emit[book]) error {
					b.Pages = append(b.Pages, 7)
					b.Notes["torn"] = "yes"
					emit(b)
					b.Pages[0] = -1
					if b.Pages[1]%5 == 4 {
						return errors.New("it falls apart")
					}
					return nil
				})
				shelf := weir.Reduce(weir.KeyBy(torn, func(b book) string { return b.Title }), "shelf", weir.Zero[string, book], func(s *book, b book) error {
					s.Pages = append(s.Pages, b.Pages...)
					if len(s.Pages)%7 == 0 {
						return errors.New("the shelf is full")
					}
					return nil
				}, weir.EmitAlways(), weir.EmitAtEnd())
				weir.Each(shelf, "look", func(context.Context, book) error { return nil })
				weir.Each(weir.Latest(weir.KeyBy(in, func(b book) string { return b.Title }), "newest", weir.EmitAtEnd()), "see", func(context.Context, book) error { return nil })
			})
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			return def
		},
		"transitions of several parts": func(t *testing.T, l *life) *weir.Definition {
			def := weir.Define("large", func(f *weir.Flow) {
				in := weir.From(f, "in", weir.Slice([]int{3, 9000, 1, 5}))
				out := weir.FlatMap(in, "many", func(n int, emit weir.Emit[string]) error {
					for i := range n {
						emit(strconv.Itoa(i))
					}
					if n == 5 {
						for range 4 {
							emit(strings.Repeat("x", 300<<10))
						}
					}
					return nil
				})
				sums := weir.Reduce(weir.KeyBy(out, func(s string) string { return s }), "count", weir.Zero[string, int], func(n *int, _ string) error {
					*n++
					return nil
				}, weir.EmitAtEnd())
				weir.Each(sums, "tell", func(context.Context, int) error { return nil })
			})
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			if !readStoryOn(t, l.disk, l.dir).parts {
				t.Fatal("no transition has several parts")
			}
			return def
		},
		"stopped and gone on with": func(t *testing.T, l *life) *weir.Definition {
			def := counting(20)
			l.live(t, def, everySecond(l, 7))
			l.is(t, weir.Stopped)
			l.live(t, def, everySecond(l, 5))
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			return def
		},
		"stopped": func(t *testing.T, l *life) *weir.Definition {
			def := counting(20)
			l.live(t, def, everySecond(l, 7))
			l.is(t, weir.Stopped)
			return def
		},
		"died and cancelled": func(t *testing.T, l *life) *weir.Definition {
			def := counting(30)
			for i := range 4 {
				l.live(t, def, func(r *weir.Run, world *vfs.Faults) {
					time.Sleep(5*time.Second + time.Millisecond)
					if i%2 == 0 {
						world.Stop()
					}
					r.Cancel()
				})
			}
			return def
		},
		"failed, and mended": func(t *testing.T, l *life) *weir.Definition {
			flow := func(broken bool) *weir.Definition {
				return weir.Define("mended", func(f *weir.Flow) {
					in := weir.From(f, "in", slowly(12))
					sums := weir.Reduce(weir.All(in), "sum", weir.Zero[weir.Whole, []int], func(s *[]int, n int) error {
						*s = append(*s, n)
						if n == 7 && broken {
							panic("seven")
						}
						return nil
					}, weir.EmitAlways())
					weir.Each(sums, "tell", func(context.Context, []int) error { return nil })
				})
			}
			l.live(t, flow(true), nil)
			l.is(t, weir.Failing)
			l.live(t, flow(false), nil)
			l.is(t, weir.Completed)
			return flow(false)
		},
		"a crash loop": func(t *testing.T, l *life) *weir.Definition {
			def := weir.Define("loop", func(f *weir.Flow) {
				in := weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4, 5, 6}))
				out := weir.Map(in, "deadly", func(n int) (int, error) {
					if n == 4 {
						l.dies()
					}
					return 2 * n, nil
				})
				weir.Each(out, "tell", func(context.Context, int) error { return nil })
			})
			for range 12 {
				if l.live(t, def, nil); l.last.Status == weir.Completed {
					break
				}
			}
			l.is(t, weir.Completed)
			if l.last.Dead != 1 {
				t.Fatalf("the deadly input is no dead letter: %+v", l.last)
			}
			return def
		},
		"a crash loop over a call": func(t *testing.T, l *life) *weir.Definition {
			def := weir.Define("loop", func(f *weir.Flow) {
				in := weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4, 5, 6}))
				done, _ := weir.Perform(in, "act", effect.KeyedByInput("act.v1", func(_ context.Context, _ effect.Call, n int) (string, error) {
					if n == 4 {
						l.dies()
					}
					return strconv.Itoa(n), nil
				}))
				weir.Each(done, "tell", func(context.Context, string) error { return nil })
			})
			for range 12 {
				l.live(t, def, func(r *weir.Run, world *vfs.Faults) {
					time.Sleep(time.Minute)
					if !world.Stopped() { // it waits for a decision
						if err := stopRun(r); err != nil {
							t.Error(err)
						}
					}
				})
				if l.last.InDoubt > 0 {
					break
				}
			}
			l.is(t, weir.Stopped)
			if l.last.InDoubt != 1 {
				t.Fatalf("%+v", l.last)
			}
			return def
		},
		"files": func(t *testing.T, l *life) *weir.Definition {
			rows := "ID,Total\n"
			for i := range 60 {
				rows += fmt.Sprintf("o%d,%d\n", i, i)
			}
			rows += "bad,row,too long\n"
			put(t, l.disk, "/in/in.csv", rows)
			type row struct {
				ID    string `csv:"ID" json:"id"`
				Total int    `csv:"Total" json:"total"`
			}
			def := weir.Define("files", func(f *weir.Flow) {
				in := weir.From(f, "in", csvfile.Read[row]("/in/in.csv"))
				weir.Into(in, "out", csvfile.Write[row]("/out/out.csv"))
				weir.Into(in, "lines", jsonl.Write[row]("/out/out.jsonl"))
				weir.Each(weir.BadInput(f, "in"), "bad", func(context.Context, weir.Failed[[]byte]) error { return nil })
			})
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			if l.last.Dead != 1 {
				t.Fatalf("%+v", l.last)
			}
			return def
		},
		"a transactional sink whose answer was lost": func(t *testing.T, l *life) *weir.Definition {
			b := bank{&ledger{}}
			def := weir.Define("bank", func(f *weir.Flow) {
				weir.Into(weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4, 5, 6, 7})), "book", weir.ExactlyOnce(b))
			})
			b.fail = func([]weir.Delivery[int]) error { panic("the process dies") }
			l.live(t, def, nil)
			b.fail = nil
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			return def
		},
		"in doubt": func(t *testing.T, l *life) *weir.Definition {
			def := doubtful()
			l.live(t, def, func(r *weir.Run, _ *vfs.Faults) {
				time.Sleep(time.Minute)
				if err := stopRun(r); err != nil {
					t.Error(err)
				}
			})
			l.is(t, weir.Stopped)
			if l.last.InDoubt != 2 {
				t.Fatalf("%+v", l.last)
			}
			return def
		},
		"in doubt, and decided": func(t *testing.T, l *life) *weir.Definition {
			def := doubtful()
			l.live(t, def, func(r *weir.Run, _ *vfs.Faults) {
				time.Sleep(time.Minute)
				if err := stopRun(r); err != nil {
					t.Error(err)
				}
			})
			for i, verdict := range []string{"retry", "done"} {
				d := inbox.Decision{Stage: "once", Input: waitsFor(t, l, "once", i), Verdict: verdict, Reason: "looked it up"}
				if verdict == "done" {
					d.Result = []byte(`"by hand"`)
				}
				if _, err := inbox.Put(l.disk, l.dir, inbox.Message{Decision: &d, By: "ann", At: time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			return def
		},
		"policies": func(t *testing.T, l *life) *weir.Definition {
			def := weir.Define("policies", func(f *weir.Flow) {
				in := weir.From(f, "in", weir.Slice(shopOrders(40)))
				var n atomic.Int64
				ask := func(_ context.Context, o verOrder) (string, error) {
					if o.Total > 5 && o.Total < 25 || n.Add(1)%6 == 0 {
						return "", effect.DidNotHappen(errors.New("busy"))
					}
					return o.ID, nil
				}
				done, failed := weir.Perform(in, "ask", effect.OrElse(effect.Idempotent("ask.v1", ask), func(o verOrder, err error) (string, error) {
					if o.Total%2 == 0 {
						return "", err
					}
					return "else " + o.ID, nil
				}), policy.Retry{Max: 3, Delay: time.Second}, policy.Breaker{Failures: 4, OpenFor: 5 * time.Second}, policy.Rate{PerSecond: 10}, weir.Concurrency(3))
				weir.Each(done, "tell", func(context.Context, string) error { return nil })
				weir.Each(failed, "sorry", func(context.Context, weir.Failed[verOrder]) error { return nil })
			})
			l.live(t, def, nil)
			l.is(t, weir.Completed)
			if l.last.Failed == 0 {
				t.Fatalf("%+v", l.last)
			}
			return def
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &life{disk: vfs.NewMemory()}
				def := record(t, l)
				sameAgain(t, def, l)
			})
		})
	}
}

func put(t *testing.T, fsys vfs.FS, name, text string) {
	t.Helper()
	if err := fsys.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// counting sums up numbers that come one a second, with an effect and a sink that
// fails now and then.
func counting(n int) *weir.Definition {
	return weir.Define("counting", func(f *weir.Flow) {
		in := weir.From(f, "in", slowly(n))
		sums := weir.Reduce(weir.KeyBy(in, func(n int) int { return n % 3 }), "sum", weir.Zero[int, verSum], func(s *verSum, n int) error {
			s.Orders, s.Total = s.Orders+1, s.Total+n
			if n%11 == 10 {
				return errors.New("eleven")
			}
			return nil
		}, weir.EmitEvery(2), weir.EmitAtEnd())
		table := weir.TableOf(weir.KeyBy(weir.From(f, "names", weir.Slice([]verCustomer{{"0", 5}, {"1", 6}})), func(c verCustomer) string { return c.Name }))
		joined, alone := weir.Join(weir.KeyBy(in, func(n int) string { return strconv.Itoa(n % 3) }), table, "level", func(n int, c verCustomer) (int, error) { return n * c.Level, nil })
		paid, _ := weir.Perform(in, "pay", effect.Keyed("pay.v1", func(n int) string { return fmt.Sprint("k", n) }, func(ctx context.Context, _ effect.Call, n int) (string, error) {
			select {
			case <-time.After(1500 * time.Millisecond):
				return fmt.Sprint("paid ", n), nil
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}), weir.Concurrency(2))
		weir.Each(paid, "note", func(_ context.Context, s string) error {
			if s == "paid 5" {
				return errors.New("no ink")
			}
			return nil
		})
		weir.Each(sums, "tell", func(context.Context, verSum) error { return nil })
		weir.Each(weir.Merge(joined, alone), "show", func(context.Context, int) error { return nil })
	})
}

// doubtful makes calls of which two are not known to have happened, and at first
// nobody can tell.
func doubtful() *weir.Definition {
	return weir.Define("doubtful", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4, 5}))
		done, failed := weir.Perform(in, "once", effect.AtMostOnce("once.v1", func(_ context.Context, c effect.Call, n int) (string, error) {
			if n%2 == 0 && c.Attempt == 1 {
				return "", errors.New("connection lost")
			}
			return fmt.Sprint(n, " at attempt ", c.Attempt), nil
		}, effect.AskAPerson[int, string]), policy.Timeout(time.Second))
		weir.Each(done, "tell", func(context.Context, string) error { return nil })
		weir.Each(failed, "sorry", func(context.Context, weir.Failed[int]) error { return nil })
	})
}

// waitsFor is the record id of the i-th input that waits for a decision.
func waitsFor(t *testing.T, l *life, stage string, i int) event.RecordID {
	t.Helper()
	s := readStoryOn(t, l.disk, l.dir)
	var found []event.RecordID
	for _, c := range s.told {
		for _, o := range c.outputs {
			for _, r := range o.records {
				if c.Stage == stage && o.typ == plan.EntryParked {
					found = append(found, event.RecordID{Epoch: s.manifest.Epochs[0].ID, Journal: r.refs[0].Journal, Seq: r.refs[0].Seq})
				}
			}
		}
	}
	return found[i]
}

// sameAgain verifies a run, replays it, compares, verifies the replay, and replays
// that.
func sameAgain(t *testing.T, def *weir.Definition, l *life) {
	t.Helper()
	dir, was := l.dir, journalsIn(readStoryOn(t, l.disk, l.dir))
	for i := range 3 {
		v := verifyOn(t, def, l.disk, dir, weir.VerifyOptions{Chain: true})
		if v.Outcome != weir.Identical || v.At.Chain == "" {
			t.Fatalf("verify of replay %d: %s, %d differences, skipped %v, chain %q: %+v", i, v.Outcome, v.Found, v.Skipped, v.At.Chain, v.Differences[:min(3, len(v.Differences))])
		}
		sum, err := def.Replay(t.Context(), dir, weir.Options{Dir: "/replays", Logger: quiet, Harness: &plan.Harness{FS: l.disk}})
		if err != nil {
			t.Fatal(err)
		}
		want := weir.Completed
		if l.last.Status != want {
			want = weir.Stopped
		}
		if sum.Status != want || sum.In != l.last.In || sum.Out != l.last.Out || sum.Dead != l.last.Dead || sum.Failed != l.last.Failed || sum.Open != l.last.Open || sum.InDoubt != l.last.InDoubt {
			t.Errorf("the run came to %+v, replay %d to %+v", l.last, i+1, sum)
		}
		if diff := cmp.Diff(was, journalsIn(readStoryOn(t, l.disk, sum.Dir))); diff != "" {
			t.Fatalf("replay %d is not the run (-run +replay):\n%.3000s", i+1, diff)
		}
		dir = sum.Dir
	}
}

// stopRun stops r in the bubble that it runs in: a test's context may be of another.
func stopRun(r *weir.Run) error { return r.Stop(context.Background()) }
