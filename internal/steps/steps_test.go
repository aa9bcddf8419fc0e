package steps_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/steps"
)

// A world outlives the processes in it.
type world struct {
	t       *testing.T
	durable []plan.Entry
	emitted []string       // committed
	calls   map[string]int // by effect and request
	refuse  string         // request that is refused for good
	handler func(r *steps.Run, emit func(string)) error
	told    func(plan.Entry) error // what is asked for

	lives, dieAt int
}

// A process executes the input once, and dies at a step.
type process struct {
	w       *world
	n       int
	dead    bool
	placed  []plan.Entry
	written []string // by emit functions since the last placing
	began   []plan.Entry
	ctx     context.Context
}

var errDead = errors.New("dead")

func (p *process) step() bool {
	if p.n++; p.w.lives == 1 && p.n == p.w.dieAt {
		p.dead = true
	}
	return !p.dead
}

func (p *process) Context() context.Context { return p.ctx }
func (p *process) Waiting() context.Context { return p.ctx }
func (p *process) History() []plan.Entry    { return p.began }
func (p *process) Now() time.Time           { return time.Now() }
func (p *process) Asked(e plan.Entry) error { return p.w.told(e) }
func (p *process) Input() *plan.Accepted {
	return &plan.Accepted{Run: "01JZ0000000000000000000000", Stage: "checkout", Data: []byte(`{}`)}
}

// Record makes everything durable at once: what is lost between placing and
// durability is the engine's to care for.
func (p *process) Record(emit func(), entries ...plan.Entry) error {
	if !p.step() {
		return errDead
	}
	p.written = nil
	if emit != nil {
		emit()
	}
	for _, e := range entries {
		data, err := plan.AppendEntry(nil, &e)
		if err != nil {
			return err
		}
		if e, err = plan.ParseEntry(e.Type, data); err != nil {
			return err
		}
		p.placed = append(p.placed, e)
	}
	p.w.durable = append(p.w.durable, p.placed...)
	p.w.emitted = append(p.w.emitted, p.written...)
	p.placed = nil
	if !p.step() {
		return errDead
	}
	return nil
}

func (p *process) Durable() error {
	if !p.step() {
		return errDead
	}
	return nil
}

func (w *world) effects(p *process) map[string]perform.Guarded {
	uses := map[string]perform.Guarded{}
	for _, name := range []string{"reserve", "charge", "release"} {
		do := func(_ context.Context, c effect.Call, in string) (string, error) {
			if !p.step() {
				return "", errDead
			}
			if in == w.refuse {
				return "", effect.Permanent(errors.New("no"))
			}
			w.calls[name+" "+in+" "+c.Key]++
			if !p.step() {
				return "", errDead
			}
			return name + " of " + in, nil
		}
		e, err := effect.KeyedByInput(name, do).Plan(event.JSON)
		if err != nil {
			w.t.Fatal(err)
		}
		uses[name] = perform.Guarded{Effect: e}
	}
	return uses
}

func await(r *steps.Run, signal, key string, timeout time.Duration) ([]byte, bool, error) {
	_, v, arrived, err := r.Await(signal, key, timeout)
	return v, arrived, err
}

// once executes the input once.
func (w *world) once() plan.Result {
	w.lives++
	if n := len(w.durable); n > 0 && w.durable[n-1].Type == plan.EntryCompleted {
		return plan.Result{State: plan.Finished} // the open work is closed
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := &process{w: w, began: slices.Clone(w.durable), ctx: ctx}
	r := steps.Begin(p, w.effects(p))
	emit := func(s string) { r.Emit(func() { p.written = append(p.written, s) }, len(s), nil) }
	err := w.handler(r, emit)
	res := r.End(err, func() { p.written = append(p.written, "done") }, func(err error) { p.written = append(p.written, "failed: "+err.Error()) })
	if p.dead {
		return plan.Result{State: plan.Interrupted}
	}
	if res.State == plan.Finished || res.State == plan.Parked {
		if err := p.Record(res.Emit, res.Entries...); err != nil {
			return plan.Result{State: plan.Interrupted}
		}
	}
	return res
}

// run executes it until it does not die.
func (w *world) run() plan.Result {
	for {
		if res := w.once(); res.State != plan.Interrupted {
			return res
		}
		if w.lives > 5 {
			w.t.Fatal("it does not come to its end")
		}
	}
}

func newWorld(t *testing.T, h func(r *steps.Run, emit func(string)) error) *world {
	t.Helper()
	return &world{t: t, calls: map[string]int{}, handler: h, told: func(plan.Entry) error { return nil }}
}

// Two effects and a capture, killed between each pair of anything: each effect is
// called with one key, the captured value stays, what is emitted comes once.
func TestCrashEverywhere(t *testing.T) {
	for _, fails := range []bool{false, true} {
		for dieAt := 0; ; dieAt++ {
			n := 0
			var ids []string
			w := newWorld(t, func(r *steps.Run, emit func(string)) error {
				got, err := r.Do("reserve", "reserve", "7")
				if err != nil {
					return err
				}
				_ = r.Compensate("release", "release", got)
				emit("reserved")
				id, err := r.Capture("number", func() ([]byte, error) { n++; return fmt.Appendf(nil, "%d", n), nil })
				if err != nil {
					return err
				}
				emit("number " + string(id))
				ids = append(ids, string(id))
				if _, err := r.Do("charge", "charge", "7 "+string(id)); err != nil {
					return fmt.Errorf("charge: %w", err)
				}
				emit("charged")
				return nil
			})
			w.dieAt = dieAt
			if fails {
				w.refuse = "7 1"
			}
			res := w.run()
			if res.State != plan.Finished {
				t.Fatalf("dies at %d: %+v", dieAt, res)
			}
			last := "charged,done"
			if fails && n == 1 {
				last = "failed: charge: no"
			}
			want := strings.Split(fmt.Sprintf("reserved,number %s,%s", ids[len(ids)-1], last), ",")
			if !slices.Equal(w.emitted, want) {
				t.Errorf("dies at %d: emitted %q, want %q", dieAt, w.emitted, want)
			}
			keys := map[string]string{}
			for call := range w.calls {
				parts := strings.Fields(call)
				name, key := parts[0], parts[len(parts)-1]
				if keys[name] != "" && keys[name] != key {
					t.Errorf("dies at %d: %s has two keys", dieAt, name)
				}
				keys[name] = key
			}
			if released := keys["release"] != ""; released != (fails && n == 1) {
				t.Errorf("dies at %d: released %v", dieAt, released)
			}
			outcomes := map[string]int{}
			for _, e := range w.durable {
				if e.Final {
					outcomes[e.Step]++
				}
			}
			for step, k := range outcomes {
				if k != 1 {
					t.Errorf("dies at %d: step %s has %d outcomes", dieAt, step, k)
				}
			}
			if dieAt > 0 && w.lives == 1 {
				if dieAt < 12 {
					t.Errorf("only %d places to die at", dieAt)
				}
				break
			}
		}
	}
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at time.Time
		w := newWorld(t, func(r *steps.Run, emit func(string)) error {
			emit("waits")
			v, arrived, err := await(r, "approval", "7", time.Hour)
			if err != nil {
				return err
			}
			if err := r.Sleep("cool off", time.Minute); err != nil {
				return err
			}
			again, second, err := await(r, "approval", "7", 0)
			if err != nil {
				return err
			}
			at = r.Now()
			emit(fmt.Sprint(string(v), arrived, string(again), second))
			return nil
		})
		res := w.once()
		if want := (plan.Wake{Step: "await approval 7", At: began.Add(time.Hour), Signal: "approval", Key: "7"}); res.State != plan.Suspended || res.Wake != want {
			t.Fatalf("%+v, want to wait for %+v", res, want)
		}
		time.Sleep(10 * time.Minute)
		w.durable = append(w.durable, plan.Entry{Type: plan.EntryWoken, Step: res.Wake.Step, Result: []byte(`"yes"`), ID: "s1", At: time.Now()})
		res = w.once()
		if res.State != plan.Suspended || res.Wake.Step != "cool off" || !res.Wake.At.Equal(began.Add(11*time.Minute)) {
			t.Fatalf("%+v, want to sleep", res)
		}
		time.Sleep(time.Hour) // it is due when it is executed again
		res = w.once()
		if res.State != plan.Suspended || res.Wake.Step != "await approval 7 2" || !res.Wake.At.IsZero() {
			t.Fatalf("%+v, want to wait for the second signal", res)
		}
		w.durable = append(w.durable, plan.Entry{Type: plan.EntryWoken, Step: res.Wake.Step, At: time.Now()})
		if res = w.once(); res.State != plan.Finished {
			t.Fatalf("%+v, want the end", res)
		}
		if want := []string{"waits", `"yes"truefalse`, "done"}; !slices.Equal(w.emitted, want) {
			t.Errorf("emitted %q, want %q", w.emitted, want)
		}
		if !at.Equal(began.Add(70 * time.Minute)) {
			t.Errorf("Now was %v after it began", at.Sub(began))
		}
	})
}

// What does not fit is parked, and goes on as a person says.
func TestDiverged(t *testing.T) {
	call := func(step, effect string) func(*steps.Run, func(string)) error {
		return func(r *steps.Run, _ func(string)) error {
			_, err := r.Do(step, effect, "7")
			return err
		}
	}
	for name, c := range map[string]struct {
		changed  func(*steps.Run, func(string)) error
		says     string
		step     string
		goesOn   string // what is emitted after --continue
		givenUp  string // after --failed
		newCalls int
	}{
		"another effect": {
			call("one", "charge"), "diverged: effect reserve is on record where the code has charge", "one", "done", "failed: ", 1,
		},
		"another kind": {
			func(r *steps.Run, _ func(string)) error {
				_, err := r.Capture("one", func() ([]byte, error) { return []byte("1"), nil })
				return err
			}, `step "one" is`, "one", "done", "failed: ", 0,
		},
		"passed by": {call("two", "reserve"), `passed by in the code: step "one"`, "", "done", "failed: ", 0},
	} {
		for _, verdict := range []string{perform.DecideContinue, perform.DecideFailed} {
			t.Run(name+" "+verdict, func(t *testing.T) {
				w := newWorld(t, func(r *steps.Run, _ func(string)) error {
					if _, err := r.Do("one", "reserve", "7"); err != nil {
						return err
					}
					_, _, err := await(r, "go", "7", 0)
					return err
				})
				if res := w.once(); res.State != plan.Suspended {
					t.Fatalf("%+v", res)
				}
				calls := len(w.calls)
				w.durable = w.durable[:len(w.durable)-1] // it did not come to wait
				w.handler = c.changed
				res := w.once()
				if res.State != plan.Parked || !strings.Contains(res.Err.Error(), c.says) || res.Entries[0].Step != c.step {
					t.Fatalf("%+v, want parked at %q with %q", res, c.step, c.says)
				}
				w.durable = append(w.durable, plan.Entry{Type: plan.EntryDecision, Step: c.step, Outcome: verdict, By: "ann", Reason: "seen"})
				res = w.once()
				want := c.goesOn
				if verdict == perform.DecideFailed {
					want = c.givenUp
				}
				if res.State != plan.Finished || len(w.emitted) != 1 || !strings.HasPrefix(w.emitted[0], want) {
					t.Fatalf("%+v, emitted %q, want %q", res, w.emitted, want)
				}
				if got := len(w.calls) - calls; verdict == perform.DecideContinue && got != c.newCalls && name != "passed by" {
					t.Errorf("%d calls more, want %d", got, c.newCalls)
				}
			})
		}
	}
}

func TestChanges(t *testing.T) {
	var said []bool
	old := func(r *steps.Run, _ func(string)) error {
		_, err := r.Do("one", "reserve", "7")
		if err == nil {
			_, _, err = await(r, "go", "7", 0)
		}
		return err
	}
	changed := func(r *steps.Run, emit func(string)) error {
		said = append(said, r.Since("fees"))
		return old(r, emit)
	}
	w := newWorld(t, old)
	w.once()
	w.handler = changed
	w.once()
	w.once()
	if !slices.Equal(said, []bool{false, false}) {
		t.Errorf("begun before the change: %v", said)
	}
	said = nil
	w = newWorld(t, changed)
	w.once()
	w.once()
	if !slices.Equal(said, []bool{true, true}) {
		t.Errorf("begun with the change: %v", said)
	}
}

// A change may have the name of a step.
func TestChangeNamedLikeAStep(t *testing.T) {
	w := newWorld(t, func(r *steps.Run, _ func(string)) error {
		if !r.Since("one") {
			return errors.New("it began before")
		}
		if _, err := r.Do("one", "reserve", "7"); err != nil {
			return err
		}
		return r.Sleep("wait", time.Hour)
	})
	w.once()
	if res := w.once(); res.State != plan.Suspended || len(w.calls) != 1 {
		t.Errorf("%+v, %d calls", res, len(w.calls))
	}
}

// What the code asks for is told at every step, before anything of it, whether or
// not it is on record; an error ends the execution there.
func TestAsked(t *testing.T) {
	w := newWorld(t, func(r *steps.Run, emit func(string)) error {
		_ = r.Now()
		r.Since("change")
		if _, err := r.Capture("number", func() ([]byte, error) { return []byte("7"), nil }); err != nil {
			return err
		}
		emit("before")
		if _, err := r.Do("book", "reserve", "7"); err != nil {
			return err
		}
		return r.Sleep("rest", time.Hour)
	})
	var asked []string
	w.told = func(e plan.Entry) error {
		asked = append(asked, fmt.Sprint(e.Type, " ", e.Step, " ", e.Effect, " ", e.Key != "", " ", string(e.Request), " ", e.Took))
		return nil
	}
	w.once()
	if len(asked) != 5 || asked[3] != `weir.intent.v1 book reserve false "7" 0s` {
		t.Errorf("asked at first: %q", asked)
	}
	asked = nil
	w.once()
	want := []string{
		"weir.capture.v1 weir.now  false  0s", "weir.change.v1 change  false  0s", "weir.capture.v1 number  false  0s",
		`weir.intent.v1 book reserve true "7" 0s`, "weir.waiting.v1 rest  false  1h0m0s",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked again: %q, want %q", asked, want)
	}
	made := maps.Clone(w.calls)
	w.told = func(e plan.Entry) error {
		if e.Step == "book" {
			return errDead
		}
		return nil
	}
	w.durable = w.durable[:3]
	if res := w.once(); res.State != plan.Interrupted || len(res.Emissions) != 1 || !maps.Equal(w.calls, made) {
		t.Errorf("%+v, calls %v, before %v", res, w.calls, made)
	}
}

func TestMistakes(t *testing.T) {
	for says, h := range map[string]func(r *steps.Run, _ func(string)) error{
		"two steps": func(r *steps.Run, _ func(string)) error {
			for range 2 {
				if _, err := r.Do("one", "reserve", "7"); err != nil {
					return err
				}
			}
			return nil
		},
		"not granted":   func(r *steps.Run, _ func(string)) error { _, err := r.Do("one", "unknown", "7"); return err },
		"was not grant": func(r *steps.Run, _ func(string)) error { return r.Compensate("u", "unknown", "7") },
		"are called": func(r *steps.Run, _ func(string)) error {
			_ = r.Compensate("u", "release", "7")
			return r.Compensate("u", "release", "8")
		},
	} {
		if res := newWorld(t, h).once(); res.State != plan.Broken || !strings.Contains(res.Err.Error(), says) {
			t.Errorf("%+v, want an error with %q", res, says)
		}
	}
}

// A handler that hides that it is suspended finishes nothing.
func TestSwallowedSuspension(t *testing.T) {
	w := newWorld(t, func(r *steps.Run, emit func(string)) error {
		_ = r.Sleep("long", time.Hour)
		_, _ = r.Do("one", "reserve", "7")
		emit("never")
		return nil
	})
	if res := w.once(); res.State != plan.Suspended || len(w.emitted) > 0 || len(w.calls) > 0 {
		t.Errorf("%+v, emitted %q, %d calls", res, w.emitted, len(w.calls))
	}
}

// The error of a call says whether it happened; compensations are made, the latest
// first.
func TestFailedCall(t *testing.T) {
	var happened effect.Happened
	w := newWorld(t, func(r *steps.Run, _ func(string)) error {
		for _, c := range []string{"a", "b"} {
			_ = r.Compensate("undo "+c, "release", c)
		}
		_, err := r.Do("one", "charge", "no")
		happened = effect.HappenedIn(fmt.Errorf("around: %w", err))
		return err
	})
	w.refuse = "no"
	res := w.once()
	if res.State != plan.Finished || happened != effect.No {
		t.Fatalf("%+v, happened %q", res, happened)
	}
	var order []string
	for _, e := range w.durable {
		if e.Final && e.Effect == "release" {
			order = append(order, e.Step)
		}
	}
	if !slices.Equal(order, []string{"undo b", "undo a"}) {
		t.Errorf("compensated %q", order)
	}
}
