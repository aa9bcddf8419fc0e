package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// What the gateway refuses, so that an example has every outcome: the last two
// digits of an amount decide.
const (
	declinedCents   = 7  // the authorization is declined
	outOfStockCents = 13 // the booking is refused
	noAddressCents  = 17 // the shipment is refused
)

// A Gateway answers for payments and for the warehouse behind them. All that it is
// asked to do is idempotent by its Idempotency-Key, but for bookings: they take no
// key, and each one that comes is entered.
type Gateway struct {
	ledger *Ledger
	fates  *fates
	token  string
	blind  bool
	keys   locks
}

// NewGateway returns a gateway over a ledger. It turns away who does not bring the
// token, unless that is empty. The seed makes its faults repeatable, as far as the
// order of requests is.
func NewGateway(l *Ledger, f Faults, token string, seed uint64) *Gateway {
	return &Gateway{ledger: l, fates: newFates(f, seed), token: token, blind: f.Blind}
}

// Handler returns the gateway's HTTP interface:
//
//	POST /authorizations   {"order", "cents"}   Idempotency-Key
//	POST /charges          {"order", "cents"}   Idempotency-Key
//	POST /refunds          {"order", "cents"}   Idempotency-Key
//	POST /bookings         {"order", "cents"}
//	POST /cancellations    {"order", "cents"}   Idempotency-Key
//	POST /shipments        {"order", "cents"}   Idempotency-Key
//	GET  /orders/{order}   what happened to an order, oldest first
//	GET  /ledger           everything that happened
//
// The answer to a POST is the ledger's entry, to a GET a list of entries.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, kind := range map[string]string{
		"authorizations": "authorization", "charges": "charge", "refunds": "refund",
		"cancellations": "cancellation", "shipments": "shipment",
	} {
		mux.Handle("POST /"+path, g.acts(func(key string, in Entry) (int, any) { return g.keyed(kind, key, in) }))
	}
	mux.Handle("POST /bookings", g.acts(func(_ string, in Entry) (int, any) {
		in.Kind = "booking"
		return g.enter(in)
	}))
	mux.Handle("GET /orders/{order}", g.shows(func(r *http.Request) []Entry { return g.ledger.Of(r.PathValue("order")) }))
	mux.Handle("GET /ledger", g.shows(func(*http.Request) []Entry { return g.ledger.Of("") }))
	return g.guarded(mux)
}

type problem struct {
	Error string `json:"error"`
}

// guarded lets only those pass who bring the token, and nobody during an outage.
func (g *Gateway) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case g.fates.outage():
			cut(w)
		case g.token != "" && r.Header.Get("Authorization") != "Bearer "+g.token:
			answer(w, http.StatusUnauthorized, problem{"who are you? The Authorization is missing or wrong"})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// keyed does what was asked once for each key, and answers as the first time.
func (g *Gateway) keyed(kind, key string, in Entry) (int, any) {
	if key == "" {
		return http.StatusBadRequest, problem{"no Idempotency-Key"}
	}
	defer g.keys.lock(kind + " " + key)()
	if e, ok := g.ledger.ByKey(kind, key); ok {
		if e.Order != in.Order || e.Cents != in.Cents {
			return http.StatusUnprocessableEntity, problem{fmt.Sprintf("key %s was used for order %s, %d cents", key, e.Order, e.Cents)}
		}
		return http.StatusOK, e
	}
	in.Kind, in.Key = kind, key
	return g.enter(in)
}

// enter does what was asked, unless the rules of the house refuse it.
func (g *Gateway) enter(e Entry) (int, any) {
	if err := g.refuses(e); err != nil {
		return http.StatusConflict, problem{err.Error()}
	}
	e.OK = e.Kind != "authorization" || e.Cents%100 != declinedCents
	e, err := g.ledger.Append(e)
	if err != nil {
		return http.StatusInternalServerError, problem{err.Error()}
	}
	return http.StatusOK, e
}

// refuses says why e cannot be, given what happened before.
func (g *Gateway) refuses(e Entry) error {
	before := map[string]string{"charge": "authorization", "refund": "charge", "cancellation": "booking"}[e.Kind]
	if before != "" && !slices.ContainsFunc(g.ledger.Of(e.Order), func(b Entry) bool {
		return b.Kind == before && b.OK && b.Cents == e.Cents
	}) {
		return fmt.Errorf("there is no %s of order %s over %d cents", before, e.Order, e.Cents)
	}
	switch {
	case e.Kind == "booking" && e.Cents%100 == outOfStockCents:
		return errors.New("out of stock")
	case e.Kind == "shipment" && e.Cents%100 == noAddressCents:
		return errors.New("no such address")
	}
	return nil
}

// acts reads a request, does what it asks for, and misbehaves before or after.
func (g *Gateway) acts(do func(key string, in Entry) (int, any)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Order string `json:"order"`
			Cents int64  `json:"cents"`
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil || in.Order == "" {
			answer(w, http.StatusBadRequest, problem{"want an order and cents"})
			return
		}
		fate, wait := g.fates.draw(r.URL.Path)
		switch fate {
		case refused:
			w.Header().Set("Retry-After", g.fates.retryAfter)
			answer(w, http.StatusServiceUnavailable, problem{"busy; nothing was done"})
			return
		case throttled:
			w.Header().Set("Retry-After", g.fates.retryAfter)
			answer(w, http.StatusTooManyRequests, problem{"too many requests; nothing was done"})
			return
		case failed:
			answer(w, http.StatusInternalServerError, problem{"something went wrong"})
			return
		default:
		}
		// From here on it acts, whether or not anybody still listens.
		status, e := do(r.Header.Get("Idempotency-Key"), Entry{Order: in.Order, Cents: in.Cents})
		switch fate {
		case lost:
			cut(w)
			return
		case broke:
			status, e = http.StatusInternalServerError, problem{"something went wrong"}
		default:
		}
		select {
		case <-time.After(wait):
			answer(w, status, e)
		case <-r.Context().Done():
		}
	})
}

// shows answers with entries.
func (g *Gateway) shows(entries func(*http.Request) []Entry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.blind {
			answer(w, http.StatusServiceUnavailable, problem{"nobody can look anything up"})
			return
		}
		answer(w, http.StatusOK, entries(r))
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may have gone
}

// cut ends the connection without an answer.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// locks are one lock for each key.
type locks struct {
	mu   sync.Mutex
	held map[string]*held
}

type held struct {
	mu    sync.Mutex
	users int
}

// lock takes the lock of a key and returns what gives it back.
func (l *locks) lock(key string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*held{}
	}
	h := l.held[key]
	if h == nil {
		h = &held{}
		l.held[key] = h
	}
	h.users++
	l.mu.Unlock()
	h.mu.Lock()
	return func() {
		h.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(l.held, key)
		}
	}
}
