package weir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/policy"
)

// The payloads of a flow of durable functions, with members in alphabetical order,
// as twist writes them.
type (
	trip struct {
		ID   int    `json:"id"`
		Km   int    `json:"km"`
		Who  string `json:"who"`
		Wish string `json:"wish,omitempty"`
	}
	booking struct {
		Cents int    `json:"cents"`
		For   string `json:"for"`
	}
	ticket struct {
		For  string `json:"for"`
		Text string `json:"text"`
	}
	permit struct {
		OK   bool   `json:"ok"`
		Trip string `json:"trip"`
	}
	purse struct {
		Spent int `json:"spent"`
		Trips int `json:"trips"`
	}
)

// agency is the outside of the flow of trips: it counts what it is asked for.
type agency struct{ calls atomic.Int64 }

func (a *agency) book(_ context.Context, c effect.Call, b booking) (ticket, error) {
	a.calls.Add(1)
	switch {
	case b.Cents%10 == 3 && c.Attempt == 1:
		return ticket{}, effect.DidNotHappen(errors.New("busy"))
	case b.Cents%10 == 7:
		return ticket{}, effect.Permanent(errors.New("sold out"))
	case b.Cents%10 == 9 && c.Attempt == 1:
		return ticket{}, errors.New("connection lost")
	}
	return ticket{b.For, fmt.Sprint("seat ", b.Cents%8)}, nil
}

// stepsBuild is what differs between builds of the flow of trips.
type stepsBuild struct {
	fare      func(trip) int
	swapped   bool // the two independent bookings come in another order
	note      func(*weir.Steps, trip) error
	skip      func(trip) bool // of the booking of a hotel
	wait      func(trip) time.Duration
	impatient func(trip) bool     // it does not wait for a signal
	permit    func(permit) string // the key of a signal
	rename    func(trip) string
	text      func(ticket) string
	edit      func(*weir.Flow)
}

var permitted = weir.NewSignal[permit]("permitted")

// trips is a flow of durable functions with every kind of step: calls of several
// safety classes, compensations, captures, sleeps, signals from within the flow and
// timeouts, changes, emissions on the way, and state by key.
func trips(n int, a *agency, b stepsBuild) *weir.Definition {
	if b.fare == nil {
		b.fare = func(t trip) int { return t.Km }
	}
	if b.wait == nil {
		b.wait = func(trip) time.Duration { return time.Minute }
	}
	if b.permit == nil {
		b.permit = func(p permit) string { return p.Trip }
	}
	train := effect.KeyedByInput("train.v1", a.book)
	hotel := effect.Keyed("hotel.v1", func(b booking) string { return "hotel/" + b.For }, a.book)
	cancel := effect.Idempotent("cancel.v1", func(ctx context.Context, b booking) (ticket, error) {
		a.calls.Add(1)
		return ticket{b.For, "cancelled"}, nil
	})
	pay := effect.AtLeastOnce("pay.v1", a.book)
	text := func(t ticket) string { return t.Text }
	if b.text != nil {
		text = b.text
	}
	return weir.Define("trips", func(f *weir.Flow) {
		var all []trip
		var given []permit
		for i := range n {
			all = append(all, trip{ID: i, Km: 10 + i, Who: fmt.Sprint("w", i%3)})
			if i%3 == 0 {
				given = append(given, permit{i%2 == 0, strconv.Itoa(i)})
			}
		}
		asked := weir.From(f, "asked", weir.Slice(all))
		weir.Signals(weir.KeyBy(weir.From(f, "given", weir.Slice(given)), b.permit), "permit", permitted)
		done, failed := weir.Orchestrate(asked, "book", func(s *weir.Steps, t trip, emit weir.Emit[ticket]) error {
			id := strconv.Itoa(t.ID)
			fee := 0
			if weir.Since(s, "fees") {
				fee = 1
			}
			at, err := weir.Capture(s, "at", func() (int, error) { return t.ID % 5, nil })
			if err != nil {
				return err
			}
			emit(ticket{id, fmt.Sprint("asked at ", at)})
			bookTrain := func() (ticket, error) {
				got, err := weir.Do(s, "train", train, booking{b.fare(t) + fee, id})
				if err == nil {
					weir.Compensate(s, "no train", cancel, booking{0, id})
				}
				return got, err
			}
			bookHotel := func() (ticket, error) {
				if b.skip != nil && b.skip(t) {
					return ticket{}, nil
				}
				name := "hotel"
				if b.rename != nil {
					name = b.rename(t)
				}
				return weir.Do(s, name, hotel, booking{2 * t.Km, id})
			}
			first, second := bookTrain, bookHotel
			if b.swapped {
				first, second = second, first
			}
			one, err := first()
			two, err2 := second()
			if b.swapped {
				one, two, err, err2 = two, one, err2, err
			}
			if err := errors.Join(err, err2); err != nil {
				return fmt.Errorf("book: %w", err)
			}
			if b.note != nil {
				if err := b.note(s, t); err != nil {
					return err
				}
			}
			emit(ticket{id, text(one)})
			if err := weir.Sleep(s, "think", b.wait(t)); err != nil {
				return err
			}
			p, arrived := permit{}, true
			if b.impatient == nil || !b.impatient(t) {
				if p, arrived, err = weir.Await(s, permitted, id, 5*time.Minute); err != nil {
					return err
				}
			}
			if arrived && !p.OK {
				return errors.New("it is not permitted")
			}
			emit(ticket{id, fmt.Sprint(text(two), " permitted ", arrived, " ", s.Now().IsZero())})
			if _, err := weir.Do(s, "pay", pay, booking{10 * t.Km, id}); err != nil {
				return err
			}
			emit(ticket{id, "paid"})
			return nil
		}, weir.Using(train, policy.Retry{Max: 3, Delay: time.Second}), weir.Using(hotel, policy.Retry{Max: 3, Delay: time.Second}),
			weir.Using(cancel), weir.Using(pay, policy.Retry{Max: 2, Delay: time.Second}), weir.Concurrency(4))
		spent, over := weir.OrchestrateBy(weir.KeyBy(asked, func(t trip) string { return t.Who }), "budget", weir.Zero[string, purse],
			func(s *weir.Steps, p *purse, t trip, emit weir.Emit[int]) error {
				p.Trips++
				p.Spent += b.fare(t)
				if err := weir.Sleep(s, "pause", 10*time.Second); err != nil {
					return err
				}
				if t.ID%7 == 6 {
					return errors.New("too much")
				}
				emit(p.Spent)
				return nil
			})
		weir.Each(weir.Merge(done), "told", func(context.Context, ticket) error { return nil })
		weir.Each(weir.Merge(failed, over), "sorry", func(context.Context, weir.Failed[trip]) error { return nil })
		weir.Each(spent, "spent", func(context.Context, int) error { return nil })
		if b.edit != nil {
			b.edit(f)
		}
	})
}

// recordTrips runs it on a disk in memory, in virtual time. Its process dies, or is
// stopped, so often before it is completed.
func recordTrips(t *testing.T, n, deaths int) (disk *vfs.Memory, dir string) {
	t.Helper()
	disk = vfs.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(uint64(n), uint64(deaths)))
		for i := 0; ; i++ {
			world := vfs.NewFaults(disk, nil)
			r, err := trips(n, &agency{}, stepsBuild{}).Start(t.Context(), weir.Options{
				Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: world, Batch: 3},
			})
			if err != nil {
				t.Fatal(err)
			}
			if i < deaths {
				time.Sleep(time.Duration(rng.IntN(40_000)) * time.Millisecond)
				if i%3 == 2 {
					if err := r.Stop(t.Context()); err != nil {
						t.Fatal(err)
					}
				} else {
					world.Stop()
					r.Cancel()
				}
			}
			sum, err := r.Wait()
			dir = sum.Dir
			switch {
			case world.Stopped():
				disk = disk.Crash(rng)
				continue
			case i < deaths:
				continue
			case err != nil || sum.Status != weir.Completed:
				t.Fatalf("epoch %d: %+v, %v", i+1, sum, err)
			}
			return
		}
	})
	return disk, dir
}

func verifyOn(t *testing.T, def *weir.Definition, fsys vfs.FS, dir string, o weir.VerifyOptions) *weir.Verification {
	t.Helper()
	o.Logger, o.Harness = quiet, &plan.Harness{FS: fsys}
	v, err := def.Verify(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifySteps(t *testing.T) {
	for _, deaths := range []int{0, 5} {
		t.Run(fmt.Sprint(deaths, " deaths"), func(t *testing.T) {
			disk, dir := recordTrips(t, 30, deaths)
			var a agency
			v := verifyOn(t, trips(30, &a, stepsBuild{}), disk, dir, weir.VerifyOptions{Chain: true, MaxDifferences: 1000})
			if v.Outcome != weir.Identical {
				t.Errorf("%s: %d differences, skipped %v", v.Outcome, v.Found, v.Skipped)
				for i := range v.Differences[:min(20, len(v.Differences))] {
					t.Errorf("%+v", v.Differences[i])
				}
			}
			if a.calls.Load() != 0 {
				t.Errorf("verify made %d calls", a.calls.Load())
			}
			t.Logf("%d epochs, %d records, %d transitions, dir %s", v.At.Epoch, v.Records, v.Transitions, path.Base(dir))
		})
	}
}

// A replay of durable functions is the run that it replays, killed or not, and so is
// a replay of the replay; all of them verify.
func TestReplaySteps(t *testing.T) {
	for _, deaths := range []int{0, 4} {
		t.Run(fmt.Sprint(deaths, " deaths"), func(t *testing.T) {
			disk, dir := recordTrips(t, 25, deaths)
			var a agency
			def := trips(25, &a, stepsBuild{})
			was := journalsIn(readStoryOn(t, disk, dir))
			for range 2 {
				var said bytes.Buffer
				log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
				sum, err := def.Replay(t.Context(), dir, weir.Options{Dir: "/replays", Logger: log, Harness: &plan.Harness{FS: disk}})
				if err != nil || sum.Status != weir.Completed || said.Len() > 0 {
					t.Fatalf("replay: %+v, %v; it said %s", sum, err, &said)
				}
				now := journalsIn(readStoryOn(t, disk, sum.Dir))
				if diff := cmp.Diff(was, now); diff != "" {
					t.Errorf("the replay is not the run (-run +replay):\n%.3000s", diff)
				}
				if v := verifyOn(t, def, disk, sum.Dir, weir.VerifyOptions{Chain: true}); v.Outcome != weir.Identical || v.At.Chain == "" {
					t.Errorf("verify of the replay: %s, %v, %+v", v.Outcome, v.Skipped, v.Differences[:min(3, len(v.Differences))])
				}
				dir = sum.Dir
			}
			if a.calls.Load() != 0 {
				t.Errorf("the replays made %d calls", a.calls.Load())
			}
		})
	}
}

// What another build of a durable function does otherwise is one difference, with
// the input, the step and the field.
func TestVerifyStepsOfAnotherBuild(t *testing.T) {
	disk, dir := recordTrips(t, 12, 2)
	at := func(id int) func(trip) bool { return func(t trip) bool { return t.ID == id } }
	for name, tt := range map[string]struct {
		build stepsBuild
		want  []string
	}{
		"the same":                           {stepsBuild{}, nil},
		"independent steps in another order": {stepsBuild{swapped: true}, nil},
		"another request": {
			stepsBuild{fare: func(t trip) int {
				if t.ID == 5 {
					return t.Km + 1
				}
				return t.Km
			}},
			[]string{
				"changed book.fx asked.out:6 train request.cents 16->17",
				"changed budget.out w2 asked.out:6  payload 27->28",
				"changed budget#state w2   value.spent 27->28",
			},
		},
		"a step that is missing": {
			stepsBuild{skip: at(4)},
			[]string{"missing book.fx asked.out:5 hotel step", "changed book.out asked.out:5  payload.text"}, // of what was booked
		},
		"a step of another name": {
			stepsBuild{rename: func(t trip) string {
				if t.ID == 4 {
					return "inn"
				}
				return "hotel"
			}},
			[]string{"extra book.fx asked.out:5 inn intent"},
		},
		"a step more": {
			stepsBuild{note: func(s *weir.Steps, t trip) error {
				if t.ID != 8 {
					return nil
				}
				_, err := weir.Capture(s, "note", func() (int, error) { panic("it is called") })
				return err
			}},
			[]string{"extra book.fx asked.out:9 note capture"},
		},
		"a wait that is longer": {
			stepsBuild{wait: func(t trip) time.Duration {
				if t.ID == 3 {
					return time.Hour
				}
				return time.Minute
			}},
			[]string{"changed book.fx asked.out:4 think until"},
		},
		"no wait for a signal": {
			stepsBuild{impatient: at(3)},
			[]string{"missing book.fx asked.out:4 await permitted 3 step"},
		},
		"another key of signals": {
			stepsBuild{permit: func(p permit) string {
				if p.Trip == "6" {
					return "six"
				}
				return p.Trip
			}},
			[]string{"changed book.fx 6 given.out:3  key", "changed budget.fx 6 given.out:3  key"},
		},
		"an error that it had not": {
			stepsBuild{note: func(_ *weir.Steps, t trip) error {
				if t.ID == 5 {
					return errors.New("no")
				}
				return nil
			}},
			// It ends early, without what it did then.
			[]string{"missing book.fx asked.out:6 think step", "missing book.fx asked.out:6 await permitted 5 step", "missing book.fx asked.out:6 pay step"},
		},
		"another emission on the way": {
			stepsBuild{text: func(t ticket) string {
				if t.For == "4" {
					return t.Text + "!"
				}
				return t.Text
			}},
			[]string{"changed book.out asked.out:5  payload.text", "changed book.out asked.out:5  payload.text"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var a agency
			v := verifyOn(t, trips(12, &a, tt.build), disk, dir, weir.VerifyOptions{MaxDifferences: 1000})
			var got []string
			for _, d := range v.Differences {
				line := fmt.Sprintf("%s %s", d.Kind, d.Journal)
				if d.Key != "" {
					line += " " + d.Key
				}
				line += fmt.Sprintf(" %s %s", d.Input, d.Step)
				for _, f := range d.Fields {
					line += fmt.Sprintf(" %s %.5s->%.5s", f.Path, f.Recorded, f.Computed)
				}
				got = append(got, line)
			}
			slices.Sort(got) // which stage comes first differs from run to run
			slices.Sort(tt.want)
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) || len(v.Skipped) > 0 {
				t.Errorf("%s, skipped %v:\n%s\nwant\n%s", v.Outcome, v.Skipped, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if a.calls.Load() != 0 {
				t.Errorf("verify made %d calls", a.calls.Load())
			}
		})
	}
}

// A replay that delivers is the run with deliveries of its own; signals are given
// within the flow and not delivered.
func TestReplayStepsDelivers(t *testing.T) {
	disk, dir := recordTrips(t, 12, 1)
	var a agency
	def := trips(12, &a, stepsBuild{})
	sum, err := def.Replay(t.Context(), dir, weir.Options{Dir: "/replays", Deliver: true, Logger: quiet, Harness: &plan.Harness{FS: disk}})
	if err != nil || sum.Status != weir.Completed || sum.Dead != 0 {
		t.Fatalf("replay: %+v, %v", sum, err)
	}
	if v := verifyOn(t, def, disk, sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify of the replay: %s, %v, %+v", v.Outcome, v.Skipped, v.Differences[:min(3, len(v.Differences))])
	}
	for _, port := range []string{"book.out", "book.fx", "budget.out", "book.failed"} {
		if diff := cmp.Diff(payloadsIn(readStoryOn(t, disk, dir), port), payloadsIn(readStoryOn(t, disk, sum.Dir), port)); diff != "" {
			t.Errorf("%s is not that of the run (-run +replay):\n%.1000s", port, diff)
		}
	}
	if a.calls.Load() != 0 {
		t.Errorf("the replay made %d calls", a.calls.Load())
	}
}
