package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Faults say how the gateway misbehaves. Shares are between 0 and 1.
type Faults struct {
	Latency time.Duration // of each answer, on average
	Refuse  float64       // answers 503 and does nothing
	Lose    float64       // does what was asked and cuts the connection
	Late    float64       // does what was asked and answers after LateBy
	LateBy  time.Duration
	Every   time.Duration // an outage begins this often; zero means never
	Outage  time.Duration // and lasts this long: connections are cut, nothing is done
}

// What the gateway refuses, so that an example has every outcome: the last two
// digits of an amount decide.
const (
	declinedCents   = 7  // an authorization is declined
	outOfStockCents = 13 // a booking is refused
)

// A Gateway answers for payments. Authorizations, charges and refunds are
// idempotent by their Idempotency-Key; bookings are not: each one that comes is
// entered.
type Gateway struct {
	ledger *Ledger
	faults Faults
	began  time.Time
	keys   locks

	mu  sync.Mutex
	rng *rand.Rand
}

// NewGateway returns a gateway over a ledger. seed makes its faults repeatable, as
// far as the order of requests is.
func NewGateway(l *Ledger, f Faults, seed uint64) *Gateway {
	return &Gateway{ledger: l, faults: f, began: time.Now(), rng: rand.New(rand.NewPCG(seed, 0))}
}

// Handler returns the gateway's HTTP interface:
//
//	POST /authorizations   {"order", "cents"}   Idempotency-Key
//	POST /charges          {"order", "cents"}   Idempotency-Key
//	POST /refunds          {"order", "cents"}   Idempotency-Key
//	POST /bookings         {"order", "cents"}
//	GET  /bookings/{order}
//
// The answer is the ledger's entry.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, kind := range map[string]string{"authorizations": "authorization", "charges": "charge", "refunds": "refund"} {
		mux.Handle("POST /"+path, g.faulty(func(r *http.Request, in Entry) (int, any) { return g.keyed(r, kind, in) }))
	}
	mux.Handle("POST /bookings", g.faulty(g.book))
	mux.HandleFunc("GET /bookings/{order}", func(w http.ResponseWriter, r *http.Request) {
		if g.out() {
			cut(w)
			return
		}
		if e, ok := g.ledger.Booked(r.PathValue("order")); ok {
			answer(w, http.StatusOK, e)
			return
		}
		answer(w, http.StatusNotFound, problem{"no such booking"})
	})
	return mux
}

type problem struct {
	Error string `json:"error"`
}

// keyed does what was asked once for each key, and answers as the first time.
func (g *Gateway) keyed(r *http.Request, kind string, in Entry) (int, any) {
	key := r.Header.Get("Idempotency-Key")
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
	ok := kind != "authorization" || in.Cents%100 != declinedCents
	return g.enter(Entry{Kind: kind, Key: key, Order: in.Order, Cents: in.Cents, OK: ok})
}

func (g *Gateway) book(_ *http.Request, in Entry) (int, any) {
	if in.Cents%100 == outOfStockCents {
		return http.StatusConflict, problem{"out of stock"}
	}
	return g.enter(Entry{Kind: "booking", Order: in.Order, Cents: in.Cents, OK: true})
}

func (g *Gateway) enter(e Entry) (int, any) {
	e, err := g.ledger.Append(e)
	if err != nil {
		return http.StatusInternalServerError, problem{err.Error()}
	}
	return http.StatusOK, e
}

// faulty reads a request, and misbehaves before or after do.
func (g *Gateway) faulty(do func(*http.Request, Entry) (int, any)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.out() {
			cut(w)
			return
		}
		var in Entry
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil || in.Order == "" {
			answer(w, http.StatusBadRequest, problem{"want an order and cents"})
			return
		}
		fate, wait := g.fate()
		if fate < g.faults.Refuse {
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusServiceUnavailable, problem{"busy; nothing was done"})
			return
		}
		status, e := do(r, in) // whether or not anybody still listens
		switch fate -= g.faults.Refuse; {
		case fate < g.faults.Lose:
			cut(w)
			return
		case fate < g.faults.Lose+g.faults.Late:
			wait = g.faults.LateBy
		}
		select {
		case <-time.After(wait):
			answer(w, status, e)
		case <-r.Context().Done():
		}
	})
}

// out tells whether there is an outage.
func (g *Gateway) out() bool {
	return g.faults.Every > 0 && time.Since(g.began)%g.faults.Every >= g.faults.Every-g.faults.Outage
}

// fate draws what becomes of a request, and how long its answer takes.
func (g *Gateway) fate() (float64, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rng.Float64(), time.Duration(g.rng.ExpFloat64() * float64(g.faults.Latency))
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
