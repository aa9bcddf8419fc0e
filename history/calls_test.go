package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/sample"
	"github.com/weirflow/weir/journal/memory"
)

// charges is the log of a run that acts on the world.
func charges(t *testing.T) *history.Run {
	t.Helper()
	log := memory.New(sample.ChargesManifest(run), memory.Options{Build: "b1"})
	if err := sample.New().Charges(log); err != nil {
		t.Fatal(err)
	}
	return view(t, log)
}

// told is a call in one line.
func told(c *history.Call) string {
	s := fmt.Sprintf("%s %s %s %q %s", c.Stage, c.Input, c.Kind, c.Step, c.State)
	if c.Effect != "" {
		s += fmt.Sprintf(" %s/%s/%s key %s attempts %d", c.Effect, c.Version, c.Safety, c.Key, c.Attempts)
	}
	if c.Result != nil {
		s += " = " + string(c.Result)
	}
	if c.Reason != "" {
		s += " because " + c.Reason
	}
	for _, d := range c.Decisions {
		s += fmt.Sprintf(", %s said %s at %s", d.By, d.Verdict, d.Record)
	}
	if c.Signal != "" {
		s += fmt.Sprintf(" for %s %s", c.Signal, c.Key)
	}
	return s
}

const (
	doneOnce = `charge orders.out:1 call "" done bank/2/at most once key k-1 attempts 1 = {"charge":"ch-1"}`
	declined = `charge orders.out:2 call "" failed bank/2/at most once key k-2 attempts 2 because the card is blocked`
	decided  = `charge orders.out:3 call "" done bank/2/at most once key k-3 attempts 1 = {"charge":"ch-3"}, ann said done at charge.fx:11`
	inDoubt  = `charge orders.out:4 call "" in doubt bank/2/at most once key k-4 attempts 1 because the process died while the bank was called`
	underWay = `charge orders.out:5 call "" open bank/2/at most once key k-5 attempts 1`
	captured = `approve charge.out:1 capture "id" done = "a-1"`
	mailed   = `approve charge.out:1 call "ask" done mail//at least once key  attempts 1 = {"mail":"m-1"}`
	waiting  = `approve charge.out:1 wait "answer" waiting for approval o-1`
)

func TestOpenCalls(t *testing.T) {
	r := charges(t)
	var got []string
	for c, err := range r.Open(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, told(&c))
		if c.InputID == nil || c.InputID.Journal != c.Input.Journal() || c.InputID.Seq != c.Input.Seq || c.InputID.Epoch != r.Manifest().Epochs[0].ID {
			t.Errorf("%s: the input is %v", told(&c), c.InputID)
		}
		if !slices.Equal(c.Code, []string{"v1"}) {
			t.Errorf("%s: code %v", told(&c), c.Code)
		}
	}
	if diff := cmp.Diff([]string{inDoubt, underWay, captured, mailed, waiting}, got); diff != "" {
		t.Errorf("Open (-want +got):\n%s", diff)
	}
}

func TestCalls(t *testing.T) {
	r := charges(t)
	for stage, want := range map[string][]string{
		"":        {doneOnce, declined, decided, inDoubt, underWay, captured, mailed, waiting},
		"approve": {captured, mailed, waiting},
		"ship":    nil,
	} {
		var got []string
		for c, err := range r.Calls(t.Context(), stage) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, told(&c))
			if open := c.InputID != nil; open == (strings.Contains(told(&c), "orders") && c.Ended()) {
				t.Errorf("%s: input id %v", told(&c), c.InputID)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Calls of %q (-want +got):\n%s", stage, diff)
		}
	}
	for _, err := range r.Calls(t.Context(), "nothing") {
		if err == nil || !strings.Contains(err.Error(), "no such stage") {
			t.Errorf("Calls of a stage that there is not: %v", err)
		}
	}
	for _, err := range r.Calls(t.Context(), "") { // it can be left early
		if err != nil {
			t.Error(err)
		}
		break
	}
}

// What an output followed from has the calls, with attempts, keys and decisions;
// the records of the calls themselves are no further causes.
func TestWhyHasCalls(t *testing.T) {
	r := charges(t)
	for ref, want := range map[event.Ref]string{
		{Stage: "charge", Seq: 1, Port: "out"}:    doneOnce,
		{Stage: "charge", Seq: 1, Port: "failed"}: declined,
		{Stage: "charge", Seq: 2, Port: "out"}:    decided,
	} {
		x, err := r.Why(t.Context(), ref, history.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range x.Calls {
			got = append(got, told(&x.Calls[i]))
		}
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("calls of %s (-want +got):\n%s", ref, diff)
		}
		if len(x.Causes) != 1 || x.Causes[0].Ref.Stage != "orders" {
			t.Errorf("causes of %s: %+v, want the order", ref, x.Causes)
		}
	}
}

func TestImpactHasCalls(t *testing.T) {
	r := charges(t)
	for n, want := range map[uint64][]string{
		1: {doneOnce, "charge.out:1", captured, mailed, waiting, "open in approve"},
		2: {declined, "charge.failed:1"},
		3: {decided, "charge.out:2"},
		4: {inDoubt, "open in charge"},
	} {
		x, err := r.Impact(t.Context(), event.Ref{Stage: "orders", Port: "out", Seq: n}, history.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range x.Effects {
			switch e.Kind {
			case history.EffectCall:
				got = append(got, told(e.Call))
			case history.EffectRecord:
				got = append(got, e.Record.Ref.String())
			default:
				got = append(got, e.Kind+" in "+e.Stage)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("impact of order %d (-want +got):\n%s", n, diff)
		}
	}
}

// What was refused twice, because its file came back, is told once.
func TestRefused(t *testing.T) {
	w := sample.New()
	log := begun(t, w)
	for _, r := range []evidence.Refused{{ID: "1", Reason: "one"}, {ID: "2", Reason: "two"}, {ID: "1", Reason: "one again"}} {
		if err := w.Refused(log, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := view(t, log).Refused(t.Context())
	if diff := cmp.Diff([]history.Refused{{ID: "1", Reason: "one"}, {ID: "2", Reason: "two"}}, got); err != nil || diff != "" {
		t.Errorf("Refused = %v (-want +got):\n%s", err, diff)
	}
}
