package campaign_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weirflow/weir/effect"
)

// A provider is a service that a flow's effects call, with a ledger of its own. It
// outlives crashes and judges the flow.
type provider struct {
	mu      sync.Mutex
	session int               // of the flow's process, from 1
	epochs  map[int]uint64    // by session
	calls   []call            // in order
	done    map[string]int    // how often an action happened, by effect and input
	keys    map[string]money  // what was asked for with a key, and so what is answered
	classes map[string]string // of effects; what is not in it is called like its class

	handed map[string]bool // signals that were taken from somebody, by key
	booked map[string][]byte
	number int // of what was captured last
}

// A call is one that reached the provider.
type call struct {
	effect  string
	input   int
	session int
	attempt int
	key     string
	request money
}

// money is a request to the provider. Which session asked is what the flow's code
// must not let change once it has asked.
type money struct {
	Input   int `json:"input"`
	Session int `json:"session"`
}

type receiptOf struct {
	Input int    `json:"input"`
	No    string `json:"no"`
}

func newProvider() *provider {
	return &provider{
		epochs: map[int]uint64{}, done: map[string]int{}, keys: map[string]money{}, classes: map[string]string{},
		handed: map[string]bool{}, booked: map[string][]byte{},
	}
}

func (p *provider) now() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

var errLost = errors.New("connection lost")

// act is a call of an effect. A service that knows keys answers a key that it has
// seen; others act again. Of every fourth input it is busy at first, every fifth it
// refuses, and the answer about the seventh is lost on its way.
func (p *provider) act(name string, knowsKeys bool) func(context.Context, effect.Call, money) (receiptOf, error) {
	return p.serve(name, knowsKeys, moods{busy: 4, refuses: 5, loses: 7})
}

// moods are what a service does with inputs that are multiples of a number, or are
// it; zero is never.
type moods struct{ busy, refuses, loses int }

func multiple(v, of int) bool { return of > 0 && v%of == 0 }

func (p *provider) serve(name string, knowsKeys bool, m moods) func(context.Context, effect.Call, money) (receiptOf, error) {
	return func(_ context.Context, c effect.Call, r money) (receiptOf, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, call{effect: name, input: r.Input, session: p.session, attempt: c.Attempt, key: c.Key, request: r})
		of, answer := fmt.Sprint(name, " ", r.Input), receiptOf{r.Input, fmt.Sprint(name, r.Input)}
		_, known := p.keys[c.Key]
		switch {
		case knowsKeys && known:
			return answer, nil
		case multiple(r.Input, m.refuses):
			return receiptOf{}, effect.Permanent(errors.New("refused"))
		case multiple(r.Input, m.busy) && c.Attempt == 1:
			return receiptOf{}, effect.DidNotHappen(errors.New("busy"))
		}
		p.done[of]++
		if knowsKeys {
			p.keys[c.Key] = r
		}
		if r.Input == m.loses && p.done[of] == 1 {
			return receiptOf{}, errLost
		}
		return answer, nil
	}
}

// ask tells what became of a call.
func (p *provider) ask(name string) func(context.Context, effect.Call, money) (receiptOf, effect.State, error) {
	return func(_ context.Context, _ effect.Call, m money) (receiptOf, effect.State, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.done[fmt.Sprint(name, " ", m.Input)] > 0 {
			return receiptOf{m.Input, fmt.Sprint(name, m.Input)}, effect.Done, nil
		}
		return receiptOf{}, effect.NotDone, nil
	}
}

func (p *provider) happened(name string, input int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[fmt.Sprint(name, " ", input)] > 0
}

func (p *provider) class(effect string) string { return cmp.Or(p.classes[effect], effect) }

// judge says what is wrong with the calls that were made, in words. settled is in
// which epoch the final outcome of an input was recorded, undone how often it is on
// record that an attempt did not happen, both by effect and input.
func (p *provider) judge(settled map[string]uint64, undone map[string]int) (wrong []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	keys, requests, made, seen := map[string]string{}, map[string]money{}, map[string]int{}, map[string]bool{}
	for _, c := range p.calls {
		of, epoch, class := fmt.Sprint(c.effect, " ", c.input), p.epochs[c.session], p.class(c.effect)
		made[of]++
		if e, ok := settled[of]; ok && epoch > e {
			bad("%s was called in epoch %d, its outcome was recorded in epoch %d", of, epoch, e)
		}
		if attempt := fmt.Sprint(of, " ", epoch, " ", c.attempt); seen[attempt] && class != "idempotent" {
			bad("%s: attempt %d was made twice in epoch %d", of, c.attempt, epoch)
		} else {
			seen[attempt] = true
		}
		if k := cmp.Or(keys[of], c.key); k != c.key {
			bad("%s was called with the keys %q and %q", of, k, c.key)
		}
		keys[of] = c.key
		if class == "keyed" || class == "by_input" {
			if r, ok := requests[of]; ok && r != c.request {
				bad("%s was sent as %+v and then as %+v", of, r, c.request)
			}
			requests[of] = c.request
		}
	}
	for of, n := range made { // in any order: each is judged by itself
		name, _, _ := strings.Cut(of, " ")
		name = p.class(name)
		if name != "idempotent" && name != "at_least_once" && p.done[of] > 1 {
			bad("%s happened %d times", of, p.done[of])
		}
		if once := name == "at_most_once" || name == "by_person"; once && n > 1+undone[of] {
			bad("%s was called %d times, and it is recorded %d times that it did not happen", of, n, undone[of])
		}
	}
	slices.Sort(wrong)
	return wrong
}
