package weir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// A plant is a disk with the runs of one flow, whose definition changes.
type plant struct {
	t    *testing.T
	disk *vfs.Memory
	got  *collect // what sinks got
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	return &plant{t: t, disk: vfs.NewMemory(), got: &collect{}}
}

func (p *plant) options() weir.Options {
	return weir.Options{Dir: "/data", Logger: quiet, CheckpointBytes: 1 << 10, Harness: &plan.Harness{FS: p.disk, Batch: 1, Window: 3}}
}

// define makes a definition of the flow.
func define(wire func(f *weir.Flow)) *weir.Definition { return weir.Define("plant", wire) }

// stops runs a definition that fails, and is the first half of a run.
func (p *plant) stops(def *weir.Definition) {
	p.t.Helper()
	ctx := context.WithValue(p.t.Context(), half{}, true)
	if sum, err := def.Run(ctx, p.options()); err == nil || sum.Status != weir.Failing {
		p.t.Fatalf("the first half: %+v, %v", sum, err)
	}
}

// ends goes on to the end.
func (p *plant) ends(def *weir.Definition, more ...func(*weir.Options)) weir.Summary {
	p.t.Helper()
	o := p.options()
	for _, fn := range more {
		fn(&o)
	}
	sum, err := def.Run(p.t.Context(), o)
	if err != nil || sum.Status != weir.Completed {
		p.t.Fatalf("the second half: %+v, %v", sum, err)
	}
	p.whole()
	return sum
}

// refused goes on and returns why that is refused.
func (p *plant) refused(def *weir.Definition, more ...func(*weir.Options)) string {
	p.t.Helper()
	o := p.options()
	for _, fn := range more {
		fn(&o)
	}
	planned, err := def.PlanResume(p.t.Context(), o)
	if err != nil || len(planned.Refusals) == 0 {
		p.t.Fatalf("the plan: %+v, %v", planned, err)
	}
	_, err = def.Run(p.t.Context(), o)
	changed, ok := errors.AsType[*weir.DefinitionError](err)
	if !ok {
		p.t.Fatalf("it goes on: %v", err)
	}
	if diff := gocmp.Diff(planned.Refusals, changed.Refusals); diff != "" {
		p.t.Errorf("the plan refuses other things (-plan +run):\n%s", diff)
	}
	return err.Error()
}

// plans returns where the plan says that a stage begins to read a journal.
func (p *plant) plans(def *weir.Definition, stage, name string, more ...func(*weir.Options)) weir.ResumeInput {
	p.t.Helper()
	o := p.options()
	for _, fn := range more {
		fn(&o)
	}
	planned, err := def.PlanResume(p.t.Context(), o)
	if err != nil || len(planned.Refusals) > 0 {
		p.t.Fatalf("the plan: %+v, %v", planned, err)
	}
	for _, s := range planned.Stages {
		for _, in := range s.Inputs {
			if s.Name == stage && in.Journal == name {
				return in
			}
		}
	}
	p.t.Fatalf("the plan says nothing of %s reading %s: %+v", stage, name, planned.Stages)
	return weir.ResumeInput{}
}

func (p *plant) dir() string {
	p.t.Helper()
	runs, err := p.disk.ReadDir("/data/plant")
	if err != nil || len(runs) != 1 {
		p.t.Fatalf("%d runs, %v", len(runs), err)
	}
	return "/data/plant/" + runs[0].Name()
}

func (p *plant) view() (*segment.View, func()) {
	p.t.Helper()
	v, err := segment.OpenView(p.disk, p.dir())
	if err != nil {
		p.t.Fatal(err)
	}
	return v, func() { _ = v.Close() }
}

// whole holds the run to its record.
func (p *plant) whole() {
	p.t.Helper()
	v, done := p.view()
	defer done()
	run, err := history.Of(v)
	if err != nil {
		p.t.Fatal(err)
	}
	report, err := run.Check(p.t.Context())
	if err != nil || len(report.Problems) > 0 {
		p.t.Fatalf("check: %+v, %v", report, err)
	}
	if found, err := segment.Check(p.disk, p.dir()); err != nil || len(found.Damage) > 0 {
		p.t.Fatalf("check of the bytes: %+v, %v", found, err)
	}
}

// journal returns the payloads of a journal.
func (p *plant) journal(name string) (all []string) {
	p.t.Helper()
	v, done := p.view()
	defer done()
	in, err := v.Read(0)
	if err != nil {
		p.t.Fatal(err)
	}
	var tr journal.Placed
	for trs := journal.Transitions(in); ; {
		if err := trs.Next(&tr); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			p.t.Fatal(err)
		}
		for i := range tr.Outputs {
			o := &tr.Outputs[i]
			var rec journal.Record
			for rs := journal.NewRecords(o); tr.Stage+"."+o.Port == name; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				all = append(all, string(rec.Payload))
			}
		}
	}
}

// verifies executes the run again: nothing may come out otherwise, and what was not
// executed has the reasons given.
func (p *plant) verifies(def *weir.Definition, reasons ...string) {
	p.t.Helper()
	v, err := def.Verify(p.t.Context(), p.dir(), weir.VerifyOptions{Logger: quiet, Harness: &plan.Harness{FS: p.disk}})
	if err != nil {
		p.t.Fatalf("verify: %v", err)
	}
	if v.Found > 0 {
		p.t.Errorf("verify finds %d differences: %+v", v.Found, v.Differences)
	}
	var got []string
	for _, s := range v.Skipped {
		got = append(got, s.Stage+": "+s.Reason)
	}
	slices.Sort(got)
	slices.Sort(reasons)
	if !slices.Equal(got, reasons) || (v.Outcome == weir.Identical) != (len(reasons) == 0) {
		p.t.Errorf("verify is %s and did not execute %q, want %q", v.Outcome, got, reasons)
	}
}

// manifest returns that of the run.
func (p *plant) manifest() journal.Manifest {
	p.t.Helper()
	m, err := segment.ReadManifest(p.disk, p.dir())
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func starting(s ...string) func(*weir.Options) { return func(o *weir.Options) { o.Start = s } }
func mapping(s ...string) func(*weir.Options)  { return func(o *weir.Options) { o.Map = s } }
func retiring(s ...string) func(*weir.Options) { return func(o *weir.Options) { o.Retire = s } }

// half marks the context of a first half.
type half struct{}

// steps is a source of numbers, a few at a time. In a first half it waits after two
// thirds of them: a reader that failed holds it up no more.
func steps(n, size int) weir.Source[int] { return inSteps{n, size} }

type inSteps struct{ n, size int }

func (s inSteps) Bounded() bool { return true }

func (s inSteps) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
	return func(yield func(weir.Batch[int], error) bool) {
		at := 0
		if after != "" {
			at, _ = strconv.Atoi(string(after))
		}
		for at < s.n && ctx.Err() == nil {
			if ctx.Value(half{}) != nil && at >= 2*s.n/3 {
				<-ctx.Done()
				return
			}
			var b weir.Batch[int]
			for len(b.Values) < s.size && at < s.n {
				at++
				b.Values = append(b.Values, at)
			}
			b.Position = weir.Position(strconv.Itoa(at))
			if !yield(b, nil) {
				return
			}
		}
	}
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// to makes a sink that notes what it gets, and fails at a payload.
func (p *plant) to(in weir.Input[int], name string, failsAt int) {
	weir.Each(in, name, func(_ context.Context, v int) error {
		if v == failsAt {
			panic("as told")
		}
		p.got.add(fmt.Sprint(name, " ", v))
		return nil
	})
}

func plus(in weir.Input[int], name string, n int) weir.Stream[int] {
	return weir.Map(in, name, func(v int) (int, error) { return v + n, nil })
}

// A branch beside the others begins where the user says, and nowhere if he does not.
func TestResumeBranch(t *testing.T) {
	was := func(p *plant) *weir.Definition {
		return define(func(f *weir.Flow) {
			p.to(plus(weir.From(f, "in", steps(20, 2)), "one", 0), "out", 9)
		})
	}
	now := func(p *plant) *weir.Definition {
		return define(func(f *weir.Flow) {
			one := plus(weir.From(f, "in", steps(20, 2)), "one", 0)
			p.to(one, "out", 0)
			p.to(one, "beside", 0)
		})
	}
	for _, tc := range []struct {
		start string
		first func(written int) int
	}{
		{"beside=begin", func(int) int { return 1 }},
		{"beside=now", func(written int) int { return written + 1 }},
		{"beside=one.out:4", func(int) int { return 4 }},
		{"beside=one:4", func(int) int { return 4 }},
	} {
		p := newPlant(t)
		p.stops(was(p))
		written := len(p.journal("one.out"))
		if written < 9 {
			t.Fatalf("%d records were written", written)
		}
		if text := p.refused(now(p)); !strings.Contains(text, fmt.Sprintf("stage beside begins to read one.out, which has %d records already", written)) {
			t.Errorf("it is refused with %q", text)
		}
		in := p.plans(now(p), "beside", "one.out", starting(tc.start))
		want := tc.first(written)
		if int(in.From) != want || int(in.Records) != written-want+1 {
			t.Errorf("%s: the plan says %+v, want from %d of %d", tc.start, in, want, written)
		}
		p.ends(now(p), starting(tc.start))
		var got, all []string
		for _, s := range p.got.sorted() {
			if strings.HasPrefix(s, "beside ") {
				got = append(got, s)
			}
		}
		for v := want; v <= 20; v++ {
			all = append(all, fmt.Sprint("beside ", v))
		}
		slices.Sort(all)
		if !slices.Equal(got, all) {
			t.Errorf("%s: beside got %v, want %v", tc.start, got, all)
		}
		p.verifies(now(p))
	}
}

// A stage that comes between after the writer's natural end gets what its reader
// has not read, and the end.
func TestResumeInsertAfterTheEnd(t *testing.T) {
	p := newPlant(t)
	flow := func(inserted bool, failsAt int) *weir.Definition {
		return define(func(f *weir.Flow) {
			in := weir.From(f, "in", weir.Slice(upTo(6)))
			if inserted {
				in = plus(in, "more", 100)
			}
			p.to(in, "out", failsAt)
		})
	}
	o := p.options()
	o.Harness.Window = 100
	if sum, err := flow(false, 4).Run(t.Context(), o); err == nil {
		t.Fatalf("the first half: %+v", sum)
	}
	v, done := p.view()
	run, err := history.Of(v)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := run.Summary(t.Context())
	done()
	if err != nil || !sum.Stages[0].Ended {
		t.Fatalf("the source has not ended: %+v, %v", sum, err)
	}
	from := p.plans(flow(true, 0), "more", "in.out").From
	p.ends(flow(true, 0))
	var want []string
	for i := range upTo(6) {
		if i+1 < int(from) {
			want = append(want, fmt.Sprint("out ", i+1))
		} else {
			want = append(want, fmt.Sprint("out ", i+101))
		}
	}
	slices.Sort(want)
	if got := slices.Compact(p.got.sorted()); !slices.Equal(got, want) {
		t.Errorf("delivered were %v, want %v", got, want)
	}
	p.verifies(flow(true, 0), "out: the stage does not read in.out any more")
	p.verifies(flow(false, 0), "more: the flow has no such stage any more", "out: the stage does not read more.out any more")
	if _, err := flow(true, 0).Replay(t.Context(), p.dir(), weir.Options{Logger: quiet, Harness: &plan.Harness{FS: p.disk}}); err == nil || !strings.Contains(err.Error(), "its definition changed with epoch 2") {
		t.Errorf("replay: %v", err)
	}
	v, done = p.view()
	defer done()
	if run, err = history.Of(v); err != nil {
		t.Fatal(err)
	}
	if _, ok := run.Graph().Stage("more"); !ok {
		t.Error("the run's graph is not the newest")
	}
	last := uint64(len(p.journal("more.out")))
	x, err := run.Why(t.Context(), event.Ref{Stage: "more", Port: "out", Seq: last}, history.Limits{})
	if err != nil || x.Causes[0].Ref.String() != "in.out:6" {
		t.Errorf("why more.out:%d: %+v, %v", last, x, err)
	}
	if sum, err = run.Summary(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := map[string]uint64{}
	for _, s := range sum.Stages {
		in[s.Name] = s.In
	}
	if in["more"] != last || in["out"] != 6 {
		t.Errorf("records consumed: %v, want %d of more and 6 of out", in, last)
	}
}

// A stage that is drained leaves without a word; one that is not is kept until it
// is, or given up by name. And the definition goes back where it was.
func TestResumeRemove(t *testing.T) {
	p := newPlant(t)
	flow := func(between bool, failsAt int) *weir.Definition {
		return define(func(f *weir.Flow) {
			in := weir.From(f, "in", steps(30, 2))
			if between {
				in = plus(in, "between", 0)
			}
			p.to(in, "out", failsAt)
		})
	}
	p.stops(flow(true, 9))
	text := p.refused(flow(false, 0))
	for _, want := range []string{"stage between removed", "has not read", "of between.out", "resume with the old build and stop it", "--retire between"} {
		if !strings.Contains(text, want) {
			t.Errorf("it is refused with %q, which does not say %q", text, want)
		}
	}
	lost := p.plans(flow(false, 0), "between", "between.out", retiring("between"))
	if lost.Passed == 0 {
		t.Errorf("what is given up is %+v", lost)
	}
	o := p.options()
	o.Retire = []string{"between"}
	if sum, err := flow(false, 27).Run(t.Context(), o); err == nil || sum.Status != weir.Failing {
		t.Fatalf("the second part: %+v, %v", sum, err)
	}
	p.whole()
	// Back again: between comes between once more, where out stands now.
	from := p.plans(flow(true, 0), "between", "in.out").From
	p.ends(flow(true, 0), func(o *weir.Options) { o.Retire = []string{"nobody"} }, func(o *weir.Options) { o.Retire = nil })
	m := p.manifest()
	if d := m.Epochs[2].Redefined; d == nil || !slices.Equal(d.Starts, []journal.Start{
		{Stage: "between", Journal: "in.out", Seq: from - 1},
		{Stage: "out", Journal: "between.out", Seq: lost.From - 1 + lost.Passed},
	}) {
		t.Errorf("the third epoch means %+v", d)
	}
	var want []string
	for v := range upTo(30) {
		if v+1 < int(lost.From) || v+1 >= int(lost.From+lost.Passed) {
			want = append(want, fmt.Sprint("out ", v+1))
		}
	}
	slices.Sort(want)
	if got := slices.Compact(p.got.sorted()); !slices.Equal(got, want) {
		t.Errorf("delivered were %v, want %v", got, want)
	}
	p.verifies(flow(true, 0), "out: the stage does not read in.out any more")
}

// A stage goes on under another name with its state, and one that performs effects
// with its open work and its keys; and back under the old one.
func TestResumeMap(t *testing.T) { synctest.Test(t, resumeMap) }

func resumeMap(t *testing.T) {
	p := newPlant(t)
	var mu sync.Mutex
	keys := map[int][]string{}
	block := true
	flow := func(sum, pay string) *weir.Definition {
		return define(func(f *weir.Flow) {
			in := weir.From(f, "in", steps(24, 2))
			sums := weir.Reduce(weir.KeyBy(in, func(v int) int { return v % 2 }), sum, weir.Zero[int, int], func(acc *int, v int) error {
				*acc += v
				return nil
			})
			p.to(sums, "sums", 0)
			done, failed := weir.Perform(in, pay, effect.KeyedByInput("pay", func(ctx context.Context, c effect.Call, v int) (int, error) {
				mu.Lock()
				keys[v] = append(keys[v], c.Key)
				stop := block && (v == 5 || v == 6)
				mu.Unlock()
				if stop { // it is begun, and nobody knows what becomes of it
					<-ctx.Done()
					return 0, context.Cause(ctx)
				}
				return v, nil
			}), weir.Concurrency(2))
			p.to(done, "done", 0)
			weir.Each(failed, "failed", none[weir.Failed[int]])
		})
	}
	// cut runs a definition until nothing goes on, and stops it with calls under way.
	cut := func(def *weir.Definition, o weir.Options) {
		t.Helper()
		r, err := def.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Stop(ctx); err == nil {
			t.Fatal("it stopped, and no call was under way")
		}
		p.whole()
	}
	cut(flow("sum", "pay"), p.options())
	text := p.refused(flow("total", "charge"))
	for _, want := range []string{"stage pay is gone and has", "--map NEW=pay", "stage sum is gone and has 2 entries of state", "--map NEW=sum"} {
		if !strings.Contains(text, want) {
			t.Errorf("it is refused with %q, which does not say %q", text, want)
		}
	}
	if text := p.refused(flow("total", "charge"), mapping("total=pay", "charge=sum")); !strings.Contains(text, "cannot take the place") {
		t.Errorf("it is refused with %q", text)
	}
	o := p.options()
	o.Map = []string{"total=sum", "charge=pay"}
	planned, err := flow("total", "charge").PlanResume(t.Context(), o)
	if err != nil || len(planned.Refusals) > 0 {
		t.Fatalf("the plan: %+v, %v", planned, err)
	}
	for _, s := range planned.Stages {
		if renamed := s.Name == "total" || s.Name == "charge"; renamed != (s.How == weir.StageRenamed) || renamed && s.Open+s.Rows == 0 {
			t.Errorf("the plan says of %s: %+v", s.Name, s)
		}
	}
	cut(flow("total", "charge"), o)
	cut(flow("total", "charge"), p.options()) // from checkpoints of its own
	mu.Lock()
	block = false
	mu.Unlock()
	p.ends(flow("sum", "pay"), mapping("sum=total", "pay=charge"))
	for v, all := range keys {
		slices.Sort(all)
		if len(slices.Compact(all)) != 1 {
			t.Errorf("payment %d has the keys %v", v, all)
		}
	}
	if len(keys) != 24 || len(keys[5]) != 4 {
		t.Errorf("%d payments, the fifth was asked for %d times", len(keys), len(keys[5]))
	}
	done := slices.DeleteFunc(p.got.sorted(), func(s string) bool { return strings.HasPrefix(s, "sums ") })
	if len(done) != 24 || len(slices.Compact(done)) != 24 {
		t.Errorf("done are %v", done)
	}
	if got := append(p.journal("sum.out"), p.journal("total.out")...); !slices.Equal(got, []string{"156", "144"}) {
		t.Errorf("the sums are %v", got)
	}
	p.verifies(flow("sum", "pay"),
		"sums: the stage does not read total.out any more", "pay: it was recorded under the name charge", "sum: it was recorded under the name total")
}
