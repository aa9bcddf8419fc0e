package main

import (
	"encoding/json"
	"flag"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/examples/internal/scripts"
	"github.com/weirflow/weir/weirtest"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// The program of the scripts is this test binary under another name, in processes of
// its own.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"approval": main}) }

// TestScripts kills the program while orders wait, and starts it again before and
// after the time has come.
func TestScripts(t *testing.T) {
	cmds := scripts.Commands()
	cmds["cooled"] = cooled
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, Cmds: cmds,
		Setup: func(env *testscript.Env) error { scripts.Setup(env); return nil },
	})
}

// cooled CALLS SHOP sees to it that the one order was charged once, and not before
// it had cooled off.
func cooled(ts *testscript.TestScript, _ bool, args []string) {
	var until, charged time.Time
	charges := 0
	for dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0]))); dec.More(); {
		var call struct {
			Step  string    `json:"step"`
			Until time.Time `json:"until"`
		}
		ts.Check(dec.Decode(&call))
		if call.Step == "cool off" {
			until = call.Until
		}
	}
	for dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1]))); dec.More(); {
		var r Receipt
		ts.Check(dec.Decode(&r))
		if r.What == "charge" {
			charges, charged = charges+1, r.At
		}
	}
	if charges != 1 || until.IsZero() || charged.Before(until) {
		ts.Fatalf("charged %d times, at %v; it cooled off until %v", charges, charged, until)
	}
}

// orders and what people say about them: the whole world of a test.
func world(asked *[]string) []weirtest.Option {
	does := func(what string) func(Order) (Receipt, error) {
		return func(o Order) (Receipt, error) {
			if asked != nil {
				*asked = append(*asked, what+" "+o.ID)
			}
			return Receipt{ID: what + "-" + o.ID}, nil
		}
	}
	return []weirtest.Option{
		weirtest.Feed("orders", Order{"1", "lamp", 4900}, Order{"2", "piano", 640000}, Order{"3", "violin", 210000}, Order{"4", "harp", 990000}),
		weirtest.Answer("shop.reserve.v1", does("reserve")),
		weirtest.Answer("shop.release.v1", does("release")),
		weirtest.Answer("shop.charge.v1", does("charge")),
		weirtest.Send(approvals, "2", Approval{true, "ann"}),
		weirtest.Send(approvals, "3", Approval{false, "ben"}),
	}
}

// Three days pass in no time.
func TestApproval(t *testing.T) {
	var asked []string
	res := weirtest.Run(t, approval, append(world(&asked), weirtest.Settings(defaults))...)
	if res.Status != weir.Completed {
		t.Errorf("summary = %+v", res.Summary)
	}
	var steps, refused []string
	for _, s := range weirtest.Read[Step](t, res, "print") {
		steps = append(steps, s.ID+" "+s.What)
	}
	for _, f := range weirtest.Read[weir.Failed[Order]](t, res, "print_refused") {
		refused = append(refused, f.Input.ID+" "+f.Reason)
	}
	for what, c := range map[string]struct{ got, want []string }{
		"steps":   {steps, []string{"1 charged, charge-1", "2 approved by ann", "2 charged, charge-2", "2 waits for approval", "3 waits for approval", "4 waits for approval"}},
		"refused": {refused, []string{"3 ben said no", "4 nobody said anything within 72h0m0s"}},
		"asked":   {asked, []string{"charge 1", "charge 2", "release 3", "release 4", "reserve 1", "reserve 2", "reserve 3", "reserve 4"}},
	} {
		if slices.Sort(c.got); !slices.Equal(c.got, c.want) {
			t.Errorf("%s %q, want %q", what, c.got, c.want)
		}
	}
}

// Wherever the process dies, the same comes of it.
func TestCrashes(t *testing.T) {
	weirtest.CrashEverywhere(t, approval, append(world(nil), weirtest.Every(5))...)
}

// The README types what there is.
func TestReadme(t *testing.T) {
	program, err := exec.LookPath("approval")
	if err != nil {
		t.Fatal(err)
	}
	scripts.Readme(t, "README.md", map[string]string{"bin/approval": program})
}
