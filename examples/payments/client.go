package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/policy"
)

// A client is the payment service as the flow knows it: an effect for each thing
// that can be asked of it.
type client struct {
	cfg  Config
	http *http.Client

	authorize effect.Effect[Order, Decision]
	charge    effect.Effect[Order, Receipt]
	refund    effect.Effect[Order, Receipt]
	book      effect.Effect[Order, Receipt]
	cancel    effect.Effect[Order, Receipt]
	ship      effect.Effect[Order, Receipt]
}

// A Receipt is the service's word for something that it did.
type Receipt struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	OK   bool   `json:"ok"`
}

// newClient connects to nothing: a flow is also built to be drawn, and verified.
func newClient(cfg Config) *client {
	c := &client{cfg: cfg, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute}}}
	c.authorize = effect.Adapt(c.keyed("bank.authorize.v1", "/authorizations"),
		func(o Order) (Order, error) { return o, nil },
		func(o Order, r Receipt) (Decision, error) { return Decision{o, r.OK}, nil })
	c.charge = c.keyed("bank.charge.v1", "/charges")
	c.refund = c.keyed("bank.refund.v1", "/refunds")
	c.cancel = c.keyed("warehouse.cancel.v1", "/cancellations")
	c.ship = c.keyed("warehouse.ship.v1", "/shipments")
	// The warehouse knows no keys: what it is told twice it books twice. So it is
	// told at most once, and asked if it is not known whether it has heard.
	c.book = c.about("/bookings", httpx.AtMostOnce("warehouse.book.v1", c.http, c.ask("booking"), c.credential()))
	return c
}

// policies stand between the flow and the service: so many tries of a call, and for
// all calls together one breaker and one rate.
func (c *client) policies(tries int) []weir.EffectOption {
	return []weir.EffectOption{
		policy.Retry{Max: tries, Delay: c.cfg.Patience / 10},
		policy.Breaker{Failures: 10, OpenFor: c.cfg.Patience, Name: "gateway"},
		policy.Rate{PerSecond: c.cfg.Rate, Burst: 10, Name: "gateway"},
		policy.Timeout(c.cfg.Patience),
	}
}

// keyed is something that the service does once for each order, however often it
// is asked: the order's number is the key. Should nobody know at last whether it was
// done, the service is asked.
func (c *client) keyed(name, path string) effect.Effect[Order, Receipt] {
	kind := path[1 : len(path)-1]
	return c.about(path, httpx.Keyed(name, "", c.http, c.credential()).Reconciled(c.ask(kind)))
}

// about makes e, which speaks HTTP, an effect on orders.
func (c *client) about(path string, e effect.Effect[httpx.Request, httpx.Response]) effect.Effect[Order, Receipt] {
	return effect.Adapt(e,
		func(o Order) (httpx.Request, error) {
			r, err := httpx.JSON(http.MethodPost, c.cfg.Gateway+path, map[string]any{"order": o.ID, "cents": o.Cents})
			r.Key = o.ID
			return r, err
		},
		func(_ Order, r httpx.Response) (receipt Receipt, err error) {
			if len(r.Body) == 0 { // a person said that it was done
				return Receipt{}, nil
			}
			err = r.JSON(&receipt)
			return receipt, err
		})
}

// ask finds out whether something was done for an order.
func (c *client) ask(kind string) func(context.Context, effect.Call, httpx.Request) (httpx.Response, effect.State, error) {
	return func(ctx context.Context, _ effect.Call, r httpx.Request) (httpx.Response, effect.State, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Gateway+"/orders/"+r.Key, nil)
		if err != nil {
			return httpx.Response{}, effect.Unknown, err
		}
		req.Header.Set("Authorization", c.bearer())
		res, err := c.http.Do(req)
		if err != nil {
			return httpx.Response{}, effect.Unknown, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return httpx.Response{}, effect.Unknown, fmt.Errorf("orders/%s: %s", r.Key, res.Status)
		}
		var done []Receipt
		if err := json.NewDecoder(res.Body).Decode(&done); err != nil {
			return httpx.Response{}, effect.Unknown, err
		}
		for _, d := range done {
			if d.Kind == kind {
				body, err := json.Marshal(d)
				return httpx.Response{Status: http.StatusOK, Body: body}, effect.Done, err
			}
		}
		return httpx.Response{}, effect.NotDone, nil
	}
}

func (c *client) bearer() string { return "Bearer " + string(c.cfg.Token) }

// credential is set as a request leaves. It is not on record, and a replay, which
// sends nothing, needs none.
func (c *client) credential() httpx.Option { return httpx.Credential("Authorization", c.bearer) }
