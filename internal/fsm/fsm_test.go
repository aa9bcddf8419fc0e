package fsm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/fsm"
)

type (
	state  string
	kind   string
	action string
	event  struct {
		kind kind
		key  bool
	}
)

func (e event) Kind() kind { return e.kind }

func hasKey(e event) bool { return e.key }

func door(t testing.TB) *fsm.Table[state, kind, event, action] {
	t.Helper()
	b := fsm.New[state, kind, event, action]("Closed", []state{"Closed", "Open", "Broken"}, []kind{"Push", "Pull", "Kick"})
	b.On("Closed", "Push").When("has the key", hasKey).Go("Open", "unlock", "swing")
	b.On("Closed", "Push").Stay("rattle")
	b.On("Closed", "Pull").Ignore("it opens inwards")
	b.On("Open", "Pull").Go("Closed", "swing")
	b.On("Open", "Push").Refuse("nothing to push against")
	b.On("Closed", "Kick").Go("Broken")
	b.On("Open", "Kick").Go("Broken")
	b.On("Broken", "Push", "Pull", "Kick").Ignore("there is no door")
	table, err := b.Build()
	if err != nil {
		t.Fatalf("Build() = %v", err)
	}
	return table
}

func TestStep(t *testing.T) {
	table := door(t)
	for _, tc := range []struct {
		from    state
		ev      event
		to      state
		actions string
		err     string
	}{
		{"Closed", event{"Push", true}, "Open", "[unlock swing]", ""},
		{"Closed", event{"Push", false}, "Closed", "[rattle]", ""},
		{"Closed", event{"Pull", true}, "Closed", "[]", ""},
		{"Open", event{"Push", true}, "Open", "[]", "event Push in state Open: nothing to push against"},
		{"Open", event{"Pull", false}, "Closed", "[swing]", ""},
		{"Broken", event{"Pull", false}, "Broken", "[]", ""},
		{"Melted", event{"Pull", false}, "Melted", "[]", "event Pull in state Melted: the table does not know this state or event"},
		{"Open", event{"Paint", false}, "Open", "[]", "event Paint in state Open: the table does not know this state or event"},
	} {
		to, do, err := table.Step(tc.from, tc.ev)
		if to != tc.to || fmt.Sprint(do) != tc.actions {
			t.Errorf("Step(%v, %v) = %v, %v, want %v, %v", tc.from, tc.ev, to, do, tc.to, tc.actions)
		}
		var pe *fsm.ProtocolError
		switch {
		case tc.err == "" && err != nil:
			t.Errorf("Step(%v, %v) error = %v, want none", tc.from, tc.ev, err)
		case tc.err != "" && (!errors.As(err, &pe) || err.Error() != tc.err):
			t.Errorf("Step(%v, %v) error = %v, want %v", tc.from, tc.ev, err, tc.err)
		}
	}
}

func TestStepDoesNotAllocate(t *testing.T) {
	table := door(t)
	events := []event{{"Push", true}, {"Push", false}, {"Pull", false}}
	for _, from := range []state{"Closed", "Open"} {
		if n := testing.AllocsPerRun(100, func() {
			for _, e := range events {
				table.Step(from, e) //nolint:errcheck // the refusal is part of what is measured
			}
		}); n != 0 {
			t.Errorf("Step in %v allocates %v times, want 0", from, n)
		}
	}
}

func TestActionsCannotGrowIntoTheTable(t *testing.T) {
	table := door(t)
	_, do, _ := table.Step("Closed", event{"Push", false})
	_ = append(do, "paint")
	if _, again, _ := table.Step("Closed", event{"Push", false}); fmt.Sprint(again) != "[rattle]" {
		t.Errorf("actions after an append by the caller = %v, want [rattle]", again)
	}
}

func TestBuildNamesEveryProblem(t *testing.T) {
	b := fsm.New[state, kind, event, action]("A", []state{"A", "B", "C"}, []kind{"x", "y"})
	b.On("A", "x").When("key", hasKey).Go("B")
	b.On("A", "y").Ignore(" ")
	b.On("B", "x").Go("D")
	b.On("B", "x").Go("A")
	b.On("Z", "x").Go("A")
	b.On("C", "w").Go("A")
	b.On("C").Go("A")
	b.On("C", "x").When("", nil).Go("A")
	_, err := b.Build()
	if err == nil {
		t.Fatal("Build() of a broken table succeeded")
	}
	for _, want := range []string{
		"2 missing pairs: (B, y), (C, y)",
		"state A, event x: every branch has a guard",
		"ignore without a reason",
		"goes to D, which is not listed",
		"state B, event x: a branch after the one without a guard",
		"rule for state Z, which is not listed",
		"rule for event w, which is not listed",
		"a rule of state C names no event",
		"has no text or no function",
		"nothing leads to state C",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Build() error lacks %q:\n%v", want, err)
		}
	}
}

func TestPairsAndCounts(t *testing.T) {
	table := door(t)
	var pairs []string
	for p := range table.Pairs() {
		pairs = append(pairs, fmt.Sprintf("%v/%v:%d", p.State, p.Event, len(p.Branches)))
	}
	want := "Closed/Push:2 Closed/Pull:1 Closed/Kick:1 Open/Push:1 Open/Pull:1 Open/Kick:1 Broken/Push:1 Broken/Pull:1 Broken/Kick:1"
	if got := strings.Join(pairs, " "); got != want {
		t.Errorf("Pairs() = %v, want %v", got, want)
	}
	for s, want := range map[state]fsm.Count{
		"Closed": {Transitions: 3, Ignores: 1},
		"Open":   {Transitions: 2, Errors: 1},
		"Broken": {Ignores: 3},
		"Melted": {},
	} {
		if got := table.Count(s); got != want {
			t.Errorf("Count(%v) = %+v, want %+v", s, got, want)
		}
	}
	for range table.Pairs() {
		break // stopping early is allowed
	}
}

func TestLook(t *testing.T) {
	table := door(t)
	if got := table.Look("Closed", event{"Pull", false}); got.Outcome != fsm.Ignore || got.Reason != "it opens inwards" {
		t.Errorf("Look(Closed, Pull) = %+v, want the ignore", got)
	}
	if got := table.Look("Melted", event{"Pull", false}); got.Outcome != fsm.Refuse {
		t.Errorf("Look of an unknown state = %+v, want a refusal", got)
	}
}

func ExampleTable_Mermaid() {
	b := fsm.New[state, kind, event, action]("Closed", []state{"Closed", "Open"}, []kind{"Push", "Pull"})
	b.On("Closed", "Push").When("has the key", hasKey).Go("Open", "unlock")
	b.On("Closed", "Push").Ignore("it is locked")
	b.On("Closed", "Pull").Ignore("it opens inwards")
	b.On("Open", "Push", "Pull").Refuse("the door is off its hinges")
	table, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(table.Mermaid())
	fmt.Print(table.Markdown())
	// Output:
	// stateDiagram-v2
	//     [*] --> Closed
	//     Closed --> Open: Push [has the key] / unlock
	//     Open --> [*]
	// | state | event | when | next | actions |
	// |---|---|---|---|---|
	// | Closed | Push | has the key | Open | unlock |
	//
	// Ignored:
	//
	// | state | event | when | reason |
	// |---|---|---|---|
	// | Closed | Push |  | it is locked |
	// | Closed | Pull |  | it opens inwards |
	//
	// Refused:
	//
	// | state | event | when | reason |
	// |---|---|---|---|
	// | Open | Push, Pull |  | the door is off its hinges |
}
