package weir_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/policy"
	"github.com/weirflow/weir/topology"
)

type order struct {
	ID    string
	Cents int64
}

func same[T any](v T) (T, error) { return v, nil }

func orders(f *weir.Flow, name string) weir.Stream[order] {
	return weir.From(f, name, weir.Slice([]order{}))
}

func byID(o order) string { return o.ID }

type endless[T any] struct{ weir.Source[T] }

// first and second are two types of one name, as declared in functions.
func first(f *weir.Flow) {
	type thing struct{ A int }
	weir.From(f, "first", weir.Slice([]thing{}))
}

func second(f *weir.Flow) {
	type thing struct{ B int }
	weir.From(f, "second", weir.Slice([]thing{}))
}

var elsewhere weir.Stream[order]

// Wiring mistakes that only a build can see. Each is reported with the stage, the
// line and what to do.
func TestWiringMistakes(t *testing.T) {
	if _, err := weir.Define("other", func(f *weir.Flow) { elsewhere = orders(f, "orders") }).Graph(nil); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		wire func(f *weir.Flow)
		want []string // problems in order, "file:line" replaced by HERE
	}{
		{"two stages of one name", func(f *weir.Flow) {
			orders(f, "orders")
			orders(f, "orders")
		}, []string{"two stages are called orders: here and at HERE; give one of them another name (HERE)"}},
		{
			"name in another convention", func(f *weir.Flow) { orders(f, "WebOrders") },
			[]string{`stage name "WebOrders" must begin with a-z and hold only a-z, 0-9 and _, groups joined by /; try "web_orders" (HERE)`},
		},
		{
			"name with a group in it", func(f *weir.Flow) { orders(f, "web/orders") },
			[]string{`stage web/orders: a stage name has no "/" of its own; use Flow.Group (HERE)`},
		},
		{
			"name of the supervisor", func(f *weir.Flow) { orders(f, "pipeline") },
			[]string{`stage name "pipeline" is taken by the supervisor of the flow; choose another (HERE)`},
		},
		{
			"name of what is redriven", func(f *weir.Flow) { orders(f, "redrive") },
			[]string{`stage name "redrive" is taken by what enters when dead letters are processed again; choose another (HERE)`},
		},
		{
			"bad group", func(f *weir.Flow) { f.Group("Web", func() { orders(f, "orders") }) },
			[]string{`group name "Web" must begin with a-z and hold only a-z, 0-9 and _; try "web" (HERE)`},
		},
		{"two groups of one name", func(f *weir.Flow) {
			f.Group("web", func() { orders(f, "a") })
			f.Group("web", func() { orders(f, "b") })
		}, []string{"two groups are called web; give one of them another name (HERE)"}},
		{
			"stream of another flow", func(f *weir.Flow) {
				weir.Map(weir.Merge(orders(f, "orders"), elsewhere), "map", same)
			},
			[]string{"stage map: reads a stream of another flow (other); streams connect stages of one flow (HERE)"},
		},
		{
			"stage in another flow", func(f *weir.Flow) { weir.Map(elsewhere, "map", same) },
			[]string{"flow other was built already: streams and flows are of use within one build only; what comes after it was not looked at (HERE)", "no source; a flow begins with one"},
		},
		{"stream of nothing", func(f *weir.Flow) {
			orders(f, "orders")
			weir.Map(weir.Stream[order]{}, "map", same)
		}, []string{"a stage was given no flow: the *Flow is nil, or the Stream is a zero value; what comes after it was not looked at (HERE)"}},
		{
			"nil input", func(f *weir.Flow) { weir.Map[order](nil, "map", same) },
			[]string{"a stage reads nil; use what a stage returned; what comes after it was not looked at (HERE)", "no source; a flow begins with one"},
		},
		{
			"merge of nothing", func(f *weir.Flow) { weir.Map(weir.Merge[order](), "map", same) },
			[]string{"Merge of nothing; give it at least one stream; what comes after it was not looked at (HERE)", "no source; a flow begins with one"},
		},
		{"merge with itself", func(f *weir.Flow) {
			in := orders(f, "orders")
			weir.Map(weir.Merge(in, in), "map", same)
		}, []string{"stage map: reads orders.out twice; put a stage between, such as a Map that returns what it is given (HERE)"}},
		{"join with itself", func(f *weir.Flow) {
			in := weir.KeyBy(orders(f, "orders"), byID)
			weir.Join(in, weir.TableOf(in), "join", func(a, _ order) (order, error) { return a, nil })
		}, []string{"stage join: reads orders.out twice; put a stage between, such as a Map that returns what it is given (HERE)"}},
		{"dead letters of an unknown stage", func(f *weir.Flow) {
			in := orders(f, "orders")
			weir.Map(in, "validate", same)
			weir.Each(weir.DeadLetters(in, "valdate"), "print", ignore)
		}, []string{`dead letters of stage "valdate" are read, but there is no such stage; did you mean validate? (HERE)`}},
		{"dead letters of a later stage", func(f *weir.Flow) {
			in := orders(f, "orders")
			weir.Each(weir.DeadLetters(in, "validate"), "print", ignore)
			weir.Map(in, "validate", same)
		}, []string{"stage validate: its dead letters are read before it is declared (HERE); read them after (HERE)"}},
		{"dead letters of another type", func(f *weir.Flow) {
			in := orders(f, "orders")
			ids := weir.Map(in, "id", func(o order) (string, error) { return o.ID, nil })
			weir.Each(weir.DeadLetters(ids, "id"), "print", ignore)
		}, []string{"stage id: its dead letters are Failed[order], not Failed[string] (HERE)"}},
		{"dead letters of a source", func(f *weir.Flow) {
			in := orders(f, "orders")
			weir.Each(weir.DeadLetters(in, "orders"), "print", ignore)
		}, []string{"stage orders: its dead letters are Failed[[]uint8], not Failed[order]; use BadInput for a source (HERE)"}},
		{"table without an end", func(f *weir.Flow) {
			in := orders(f, "orders")
			more := weir.Map(weir.From(f, "more", weir.Source[order](endless[order]{})), "map", same)
			weir.Join(weir.KeyBy(in, byID), weir.TableOf(weir.KeyBy(more, byID)), "join", func(a, _ order) (order, error) { return a, nil })
		}, []string{"stage join: its table is read to its end before the stream, but source more (HERE) does not say that it ends; give it a method Bounded() bool that returns true, or use a Slice (HERE)"}},
		{"names for two outputs of three", func(f *weir.Flow) {
			weir.Split3(orders(f, "orders"), "split", func(order, weir.Emit[order], weir.Emit[order], weir.Emit[order]) error { return nil }, weir.Ports("a", "b"))
		}, []string{`stage split: Ports gives 2 names (["a" "b"]), the stage has 3 outputs (HERE)`}},
		{"reserved ports", func(f *weir.Flow) {
			weir.Split3(orders(f, "orders"), "split", func(order, weir.Emit[order], weir.Emit[order], weir.Emit[order]) error { return nil }, weir.Ports("dead", "receipts", "fx"))
		}, []string{
			`stage split: port name "dead" is reserved (every stage has dead, fx and sys); choose another (HERE)`,
			`stage split: port name "receipts" is reserved (sinks write their receipts there); choose another (HERE)`,
			`stage split: port name "fx" is reserved (every stage has dead, fx and sys); choose another (HERE)`,
		}},
		{"two ports of one name", func(f *weir.Flow) {
			weir.Split2(orders(f, "orders"), "split", func(order, weir.Emit[order], weir.Emit[order]) error { return nil }, weir.Ports("a", "a"))
		}, []string{"stage split: two ports are called a (HERE)"}},
		{"nil functions", func(f *weir.Flow) {
			in := orders(f, "orders")
			weir.Map[order, order](in, "map", nil)
			weir.Each(in, "each", nil)
			weir.Into(in, "into", nil)
			weir.From[order](f, "from", nil)
			weir.Reduce[string, order, int](weir.KeyBy(in, byID), "reduce", nil, nil)
			weir.Latest(weir.KeyBy[string, order](in, nil), "latest")
			weir.Filter(in, "filter", func(order) (bool, error) { return true, nil }, nil)
		}, []string{
			"stage each: the function is nil (HERE)",
			"stage filter: option 1 is nil (HERE)",
			"stage from: the source is nil (HERE)",
			"stage into: the sink is nil (HERE)",
			"stage latest: the key function is nil (HERE)",
			"stage map: the function is nil (HERE)",
			"stage reduce: the start function (use weir.Zero to start from nothing) is nil (HERE)",
			"stage reduce: the step function is nil (HERE)",
		}},
		{"payloads, by field, once each", func(f *weir.Flow) {
			type bad struct {
				Any    any
				hidden int
				Fn     func()
			}
			in := weir.From(f, "bad", weir.Slice([]bad{{hidden: 1}}))
			weir.Each(weir.Map(in, "map", same), "print", ignore)
		}, []string{"stage bad: payload: payload weir_test.bad cannot be recorded: Any: interface {} is an interface, which does not say what to decode: use a concrete type, or one pointer field per variant\n" +
			"hidden: is unexported, so it would be lost: export it, or give weir_test.bad methods MarshalJSON and UnmarshalJSON\n" +
			"Fn: func() means nothing outside this process: leave it out of the payload (HERE)"}},
		{"key that is none", func(f *weir.Flow) {
			weir.Latest(weir.KeyBy(orders(f, "orders"), func(o order) float64 { return float64(o.Cents) }), "latest")
		}, []string{"stage latest: float64 cannot be a key: float64 is a float64, and equal amounts may differ in the last bit: use an integer or a string (HERE)"}},
		{
			"two types of one name", func(f *weir.Flow) { first(f); second(f) },
			[]string{"stage second: payload: weir_test.thing and weir_test.thing are both called thing in the log; give one of them a method EventType() string (HERE)"},
		},
		{"options out of range", func(f *weir.Flow) {
			in := weir.From(f, "orders", weir.Slice([]order{}), policy.Retry{Max: -1}, policy.Rate{PerSecond: -1})
			weir.Latest(weir.KeyBy(in, byID), "latest", weir.EmitEvery(0))
			weir.TopN(weir.All(in), "top", 0, byID, func(a, b order) int { return 0 })
			weir.Each(in, "print", ignore, weir.FlushEvery(-time.Second), weir.OnError{Error: 7, Budget: weir.Budget{Share: 2}})
		}, []string{
			"stage latest: EmitEvery(0); give it at least 1 (HERE)",
			"stage orders: policy.Retry is {Max:-1 Delay:0s Factor:0 Within:0s}; nothing in it is negative, and Factor is at least 1 (HERE)",
			"stage orders: policy.Rate is {PerSecond:-1 Burst:0 Name:}; neither PerSecond nor Burst is negative (HERE)",
			"stage print: FlushEvery is -1s; a duration is not negative (HERE)",
			"stage print: OnError.Error is 7; use DeadLetter or Fail (HERE)",
			"stage print: OnError.Budget is {InARow:0 Share:2 Over:0}; counts are not negative and Share is between 0 and 1 (HERE)",
			"stage top: TopN keeps 0 items; give it at least 1 (HERE)",
		}},
		{"a hedge on what must not be called twice", func(f *weir.Flow) {
			pay := effect.KeyedByInput("pay.v1", func(context.Context, effect.Call, order) (order, error) { return order{}, nil })
			done, _ := weir.Perform(weir.From(f, "orders", weir.Slice([]order{})), "pay", pay, policy.Hedge{After: time.Second}, policy.Breaker{Failures: -1})
			weir.Each(done, "print", ignore)
		}, []string{
			"stage pay: policy.Breaker.Failures is -1; a count is not negative (HERE)",
			"stage pay: policy.Hedge on effect pay.v1, which is keyed by input: a hedge makes the same call twice at once; only an effect declared with effect.Idempotent may have one (HERE)",
		}},
		{"policies of one name and two settings", func(f *weir.Flow) {
			in := weir.From(f, "orders", weir.Slice([]order{}), policy.Rate{PerSecond: 5, Name: "api"}, policy.Retry{})
			weir.Each(in, "print", ignore, policy.Rate{PerSecond: 6, Name: "api"})
			weir.Each(in, "same", ignore, policy.Rate{PerSecond: 5, Burst: 1, Name: "api"})
		}, []string{
			"stage print: the rate api is rate(6/s, burst 1, shared as api) here and rate(5/s, burst 1, shared as api) at stage orders; what is shared by name has the same settings everywhere (HERE)",
		}},
		{"outputs that are none", func(f *weir.Flow) {
			type half struct {
				Good  weir.Out[order]
				Other int
				small weir.Out[order]
			}
			in := orders(f, "orders")
			weir.Split(in, "half", func(order, half) error { _ = half{}.small; return nil })
			weir.Split(in, "none", func(order, int) error { return nil })
			weir.Split(in, "named", func(order, struct{ A weir.Out[order] }) error { return nil }, weir.Ports("b"))
		}, []string{
			"stage half: field Other of half is a int, not a weir.Out (HERE)",
			"stage half: field small of half is unexported; export it, so that it can be an output (HERE)",
			"stage named: Ports is for Split2 and Split3; the fields of struct { A Out[order] } name the ports here (HERE)",
			"stage none: the outputs of Split are int; use a struct with fields of type weir.Out (HERE)",
		}},
		{"no source", func(*weir.Flow) {}, []string{"no source; a flow begins with one"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := weir.Define("shop", tt.wire).Graph(nil)
			invalid, ok := errors.AsType[*topology.ValidationError](err)
			if !ok {
				t.Fatalf("Graph() error = %v, want a ValidationError", err)
			}
			var got []string
			for _, p := range invalid.Problems {
				got = append(got, regexp.MustCompile(`wiring_test\.go:\d+`).ReplaceAllString(p.String(), "HERE"))
			}
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefinitionMistakes(t *testing.T) {
	type settings struct{ A int }
	wire := func(f *weir.Flow) { orders(f, "orders") }
	tests := []struct {
		name string
		def  *weir.Definition
		cfg  any
		want string
	}{
		{"bad name", weir.Define("My-Shop", wire), nil, `try "my_shop"`},
		{"no function", weir.Define("shop", nil), nil, "the function that wires the flow is nil"},
		{"settings for none", weir.Define("shop", wire), settings{}, "flow shop has no settings"},
		{"settings of another type", weir.DefineWith("shop", settings{}, func(f *weir.Flow, _ settings) { wire(f) }), 3, "is configured by weir_test.settings, got int"},
		{"settings that are no struct", weir.DefineWith("shop", 3, func(f *weir.Flow, _ int) { wire(f) }), nil, "use a struct"},
		{"panic", weir.Define("shop", func(f *weir.Flow) { wire(f); panic("boo") }), nil, "panicked: boo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.def.Graph(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Graph() error = %v, want it to contain %q", err, tt.want)
			}
		})
	}
}

func TestSecretDoesNotShow(t *testing.T) {
	s := weir.Secret("hunter2")
	text, _ := s.MarshalText()
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), string(text)} {
		if strings.Contains(got, "hunter2") {
			t.Errorf("a secret shows: %s", got)
		}
	}
}
