package effect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

type (
	order   struct{ ID, Card string }
	request struct{ Amount int }
	answer  struct{ Code string }
	paid    struct{ ID, Code string }
)

func act(_ context.Context, _ effect.Call, r request) (answer, error) {
	return answer{fmt.Sprint("code ", r.Amount)}, nil
}

func key(r request) string { return fmt.Sprint("k", r.Amount) }

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		e     effect.Effect[request, answer]
		want  plan.Safety
		words string
		asks  bool
	}{
		{effect.Idempotent("a", func(context.Context, request) (answer, error) { return answer{}, nil }), plan.Idempotent, "idempotent", false},
		{effect.Keyed("a", key, act), plan.Keyed, "keyed", false},
		{effect.KeyedByInput("a.b_2.v1", act), plan.KeyedByInput, "keyed by input", false},
		{effect.AtMostOnce("a", act, effect.AskAPerson), plan.AtMostOnce, "at most once", true},
		{effect.AtLeastOnce("a", act), plan.AtLeastOnce, "at least once", false},
		{effect.Keyed("a", key, act).Reconciled(effect.AskAPerson), plan.Keyed, "keyed", true},
		{effect.Transactional("a", &port{}, insert), plan.Transactional, "transactional", true},
	} {
		p, err := c.e.Version("2").Plan(event.JSON)
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
			continue
		}
		if p.Safety != c.want || c.e.Safety() != c.words || p.Name != c.e.Name() || p.Version != "2" {
			t.Errorf("%s: planned %s %q version %q", c.words, p.Safety, p.Name, p.Version)
		}
		if (p.Reconcile != nil) != c.asks || (p.Key != nil) != (c.want == plan.Keyed) || p.Else != nil {
			t.Errorf("%s: reconcile, key and else: %v, %v, %v", c.words, p.Reconcile != nil, p.Key != nil, p.Else != nil)
		}
	}
}

func TestRefusedAtBuild(t *testing.T) {
	for name, c := range map[string]struct {
		e    effect.Effect[request, answer]
		says string
	}{
		"zero":            {effect.Effect[request, answer]{}, "constructor"},
		"no name":         {effect.KeyedByInput("", act), "effect name"},
		"spaces":          {effect.KeyedByInput("card charge", act), "effect name"},
		"empty part":      {effect.KeyedByInput("card..charge", act), "effect name"},
		"long":            {effect.KeyedByInput(strings.Repeat("a", event.MaxName+1), act), "effect name"},
		"no function":     {effect.KeyedByInput[request, answer]("a", nil), "no function"},
		"idempotent":      {effect.Idempotent[request, answer]("a", nil), "no function"},
		"no key":          {effect.Keyed("a", nil, act), "key"},
		"no reconcile":    {effect.AtMostOnce("a", act, nil), "AskAPerson"},
		"no second way":   {effect.AtMostOnce("a", act, effect.AskAPerson).Reconciled(effect.AskAPerson), "own way"},
		"reconciled nil":  {effect.KeyedByInput("a", act).Reconciled(nil), "Reconciled"},
		"no answer":       {effect.OrElse(effect.KeyedByInput("a", act), nil), "OrElse"},
		"no port":         {effect.Transactional[int, request, answer]("a", nil, insert), "port"},
		"adapted zero":    {effect.Adapt(effect.Effect[order, paid]{}, func(request) (order, error) { return order{}, nil }, func(request, paid) (answer, error) { return answer{}, nil }), "constructor"},
		"adapted without": {effect.Adapt[request, request, answer, answer](effect.KeyedByInput("a", act), nil, nil), "both functions"},
	} {
		if p, err := c.e.Plan(event.JSON); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: planned %v, %v; want an error with %q", name, p, err, c.says)
		}
	}
	type unwritable struct{ F func() }
	e := effect.KeyedByInput("a", func(context.Context, effect.Call, unwritable) (answer, error) { return answer{}, nil })
	if _, err := e.Plan(event.JSON); err == nil || !strings.Contains(err.Error(), "its request cannot be recorded") {
		t.Errorf("a request that cannot be written: %v", err)
	}
}

func adapted() effect.Effect[order, paid] {
	return effect.Adapt(effect.Keyed("charge", key, act),
		func(o order) (request, error) {
			if o.Card == "" {
				return request{}, errors.New("no card")
			}
			return request{len(o.ID)}, nil
		},
		func(o order, a answer) (paid, error) { return paid{o.ID, a.Code}, nil })
}

func TestAdapt(t *testing.T) {
	p, err := adapted().Plan(event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	in := order{"abc", "visa"}
	req, err := p.Request(in)
	if err != nil || req != (request{3}) || p.Key(req) != "k3" {
		t.Fatalf("request %v, %v", req, err)
	}
	data, err := p.AppendReq(nil, req)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.DecodeReq(data); err != nil || again != req {
		t.Errorf("request comes back as %v, %v", again, err)
	}
	res, err := p.Do(t.Context(), plan.Call{Key: "k3", Attempt: 1}, req)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := p.Answer(in, res); err != nil || out != (paid{"abc", "code 3"}) {
		t.Errorf("answer %v, %v", out, err)
	}
	if _, err := p.Request(order{ID: "x"}); err == nil {
		t.Error("a request that cannot be made was made")
	}
}

// A fallback below an Adapt answers in the service's words, one above in the
// flow's; of two, the inner is asked first.
func TestOrElse(t *testing.T) {
	inner := effect.OrElse(effect.Keyed("charge", key, act), func(r request, err error) (answer, error) {
		if r.Amount > 3 {
			return answer{}, errors.New("too much")
		}
		return answer{"inner: " + err.Error()}, nil
	})
	both := effect.OrElse(effect.Adapt(inner,
		func(o order) (request, error) { return request{len(o.ID)}, nil },
		func(o order, a answer) (paid, error) { return paid{o.ID, a.Code}, nil },
	), func(o order, err error) (paid, error) { return paid{o.ID, "outer: " + err.Error()}, nil })
	p, err := both.Plan(event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"ab": "inner: down", "abcd": "outer: down\ntoo much"} {
		out, err := p.Else(order{ID: id}, errors.New("down"))
		if err != nil || out != (paid{id, want}) {
			t.Fatalf("%s: %v, %v; want %q", id, out, err, want)
		}
		data, err := p.AppendOut(nil, out)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := p.DecodeOut(data); err != nil || again != out {
			t.Errorf("comes back as %v, %v", again, err)
		}
	}
}

func TestMarks(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		err   error
		final bool
		after time.Duration
	}{
		{effect.Permanent(cause), true, 0},
		{effect.DidNotHappen(fmt.Errorf("wrapped: %w", cause)), false, 0},
		{effect.RetryAfter(cause, time.Second), false, time.Second},
		{fmt.Errorf("around: %w", effect.RetryAfter(cause, -time.Second)), false, 0},
	} {
		r := (*plan.RefusedError)(nil)
		if !errors.As(c.err, &r) || r.Final != c.final || r.After != c.after || !errors.Is(c.err, cause) {
			t.Errorf("%v is %+v", c.err, r)
		}
	}
	if effect.Permanent(nil) != nil || effect.DidNotHappen(nil) != nil || effect.RetryAfter(nil, 1) != nil {
		t.Error("nil is not nil")
	}
}

// A port that keeps outcomes in memory.
type port struct {
	done  map[string][]byte
	lost  error // committed, and then this
	final bool  // it knows that what was rolled back is refused for good
	names []string
	again int // tries of a transaction

	careless bool // it does not say that it rolled back
}

func (p *port) Commit(_ context.Context, key string, fn func(int) ([]byte, error)) error {
	out, err := fn(7)
	for n := 1; err != nil && n < p.again; n++ {
		out, err = fn(7)
	}
	if p.careless {
		return nil
	}
	if err != nil {
		if err = fmt.Errorf("rolled back: %w", err); p.final {
			err = effect.Permanent(err)
		}
		return err
	}
	if p.done == nil {
		p.done = map[string][]byte{}
	}
	p.done[key] = out
	return p.lost
}

func (p *port) Lookup(_ context.Context, key string) ([]byte, bool, error) {
	p.names = append(p.names, key)
	out, ok := p.done[key]
	return out, ok, nil
}

func insert(_ context.Context, tx int, r request) (answer, error) {
	switch r.Amount {
	case 0:
		return answer{}, effect.Permanent(errors.New("nothing to insert"))
	case 1:
		return answer{}, errors.New("deadlock")
	}
	return answer{fmt.Sprint("row ", tx+r.Amount)}, nil
}

func TestTransactional(t *testing.T) {
	at := &port{}
	p, err := effect.Transactional("rows.insert", at, insert).Plan(event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	for amount, final := range []bool{true, false} {
		_, err := p.Do(t.Context(), plan.Call{Key: "a"}, request{amount})
		r := (*plan.RefusedError)(nil)
		if !errors.As(err, &r) || r.Final != final {
			t.Errorf("amount %d: %v; want it known not to have happened", amount, err)
		}
	}
	at.final = true
	_, err = p.Do(t.Context(), plan.Call{Key: "a"}, request{1})
	if r := (*plan.RefusedError)(nil); !errors.As(err, &r) || !r.Final || err.Error() != "rolled back: deadlock" {
		t.Errorf("what the port knows of it: %v", err)
	}
	if _, state, err := p.Reconcile(t.Context(), plan.Call{Key: "a"}, nil); state != plan.CallNotDone || err != nil {
		t.Errorf("a key nobody committed is %v, %v", state, err)
	}
	at.lost = errors.New("connection lost")
	_, err = p.Do(t.Context(), plan.Call{Key: "a"}, request{2})
	if r := (*plan.RefusedError)(nil); err == nil || errors.As(err, &r) {
		t.Errorf("a commit whose answer was lost: %v, want an unknown outcome", err)
	}
	res, state, err := p.Reconcile(t.Context(), plan.Call{Key: "a"}, nil)
	if state != plan.CallDone || res != (answer{"row 9"}) || err != nil {
		t.Errorf("the port says %v, %v, %v", res, state, err)
	}
}

// A port may try a transaction again by itself: what counts is what the last one
// came to.
func TestTransactionalIsTriedAgainByItsPort(t *testing.T) {
	tries := 0
	for _, c := range []struct {
		at      *port
		unknown bool
		want    string
	}{
		{&port{again: 2}, false, ""},
		{&port{again: 2, lost: errors.New("connection lost")}, true, "connection lost"},
		{&port{again: 1, careless: true}, false, "deadlock"}, // committed, it says, although nothing was to be
	} {
		tries = 0
		p, err := effect.Transactional("rows.insert", c.at, func(context.Context, int, request) (answer, error) {
			if tries++; tries < 2 {
				return answer{}, errors.New("deadlock")
			}
			return answer{"row"}, nil
		}).Plan(event.JSON)
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.Do(t.Context(), plan.Call{Key: "a"}, request{1})
		r := (*plan.RefusedError)(nil)
		switch {
		case c.want == "" && (err != nil || res != (answer{"row"})):
			t.Errorf("%v, %v, want a row", res, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &r) == c.unknown):
			t.Errorf("%v, %v, want %q, unknown %v", res, err, c.want, c.unknown)
		}
	}
}

func ExampleAdapt() {
	type Order struct{ ID string }
	type Paid struct{ ID, Receipt string }
	charge := effect.Keyed("card.charge.v1", func(r string) string { return r },
		func(_ context.Context, c effect.Call, _ string) (string, error) { return "receipt for " + c.Key, nil })
	pay := effect.Adapt(charge,
		func(o Order) (string, error) { return "order-" + o.ID, nil },
		func(o Order, receipt string) (Paid, error) { return Paid{o.ID, receipt}, nil })
	fmt.Println(pay.Name(), "is", pay.Safety())
	// Output: card.charge.v1 is keyed
}

// What is taken from a call that was just answered is what reading its record gives.
func TestDecodedIsWhatDecodingGives(t *testing.T) {
	type plain struct {
		Text  string
		Left  int `json:"left,omitempty"`
		At    time.Time
		Cents float64
		Skip  string `json:"-"`
	}
	type shared struct {
		Lines []string
		More  map[string][]int
		Ref   *plain
	}
	at := time.Now()
	decodedIs(t, true, plain{Text: "x", At: at, Cents: 0.1, Skip: "not recorded"})
	decodedIs(t, true, shared{Lines: []string{"a"}, More: map[string][]int{"k": {1}}, Ref: &plain{At: at, Skip: "not recorded"}})
	decodedIs(t, true, at)
	decodedIs(t, false, rawJSON{[]byte(`{"a":1}`)})
}

// rawJSON has its own text, of which nothing is known.
type rawJSON struct{ text []byte }

func (r rawJSON) MarshalJSON() ([]byte, error)  { return r.text, nil }
func (r *rawJSON) UnmarshalJSON(b []byte) error { r.text = bytes.Clone(b); return nil }

func decodedIs[T any](t *testing.T, known bool, v T) {
	t.Helper()
	for _, c := range []event.Codec{event.JSON, event.CBOR} {
		e := effect.KeyedByInput("a", func(context.Context, effect.Call, request) (T, error) { return v, nil })
		p, err := e.Plan(c)
		if err != nil {
			if c == event.CBOR && !known {
				continue // CBOR refuses such a type
			}
			t.Fatal(err)
		}
		data, err := p.AppendRes(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.DecodeRes(data)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := p.Decoded(v)
		if ok != known || ok && !reflect.DeepEqual(got, want) {
			t.Errorf("%v: Decoded(%+v) = %+v, %v, want %+v, %v", c, v, got, ok, want, known)
		}
		if _, ok := p.Decoded(nil); ok {
			t.Errorf("%v: Decoded(nil) is known", c)
		}
	}
}
