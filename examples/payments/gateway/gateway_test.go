package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func start(t *testing.T, f Faults) (url, ledger string) {
	t.Helper()
	ledger = filepath.Join(t.TempDir(), "ledger.jsonl")
	l, err := OpenLedger(ledger)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(NewGateway(l, f, "", 1).Handler())
	t.Cleanup(func() {
		s.Close()
		_ = l.Close()
	})
	return s.URL, ledger
}

func post(t *testing.T, url, key, body string) (int, Entry, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, Entry{}, err
	}
	defer res.Body.Close()
	var e Entry
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		return res.StatusCode, e, err
	}
	return res.StatusCode, e, nil
}

func lines(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func get(t *testing.T, url string) (int, []Entry) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var entries []Entry
	if res.StatusCode == http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&entries); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode, entries
}

// Twenty callers with one key move money once and get one answer.
func TestKeyed(t *testing.T) {
	url, ledger := start(t, Faults{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			status, e, err := post(t, url+"/authorizations", "a", `{"order":"a","cents":100}`)
			if err != nil || status != http.StatusOK || e.ID != "authorization-1" || !e.OK {
				t.Errorf("%d, %+v, %v", status, e, err)
			}
		})
	}
	all.Wait()
	if n := lines(t, ledger); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	for _, body := range []string{`{"order":"b","cents":100}`, `{"order":"a","cents":101}`} {
		if status, _, _ := post(t, url+"/authorizations", "a", body); status != http.StatusUnprocessableEntity {
			t.Errorf("the key of another request: status %d", status)
		}
	}
	if status, _, _ := post(t, url+"/authorizations", "", `{"order":"a","cents":100}`); status != http.StatusBadRequest {
		t.Errorf("without a key: status %d", status)
	}
}

func TestOutcomes(t *testing.T) {
	url, ledger := start(t, Faults{})
	for _, c := range []struct {
		path, body string
		status     int
		ok         bool
	}{
		{"/charges", `{"order":"a","cents":100}`, http.StatusConflict, false}, // not authorized
		{"/authorizations", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/charges", `{"order":"a","cents":200}`, http.StatusConflict, false}, // not over so much
		{"/refunds", `{"order":"a","cents":100}`, http.StatusConflict, false}, // nothing was charged
		{"/charges", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/authorizations", `{"order":"b","cents":107}`, http.StatusOK, false},
		{"/charges", `{"order":"b","cents":107}`, http.StatusConflict, false}, // declined
		{"/bookings", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/bookings", `{"order":"a","cents":100}`, http.StatusOK, true}, // and again: it knows no keys
		{"/bookings", `{"order":"c","cents":113}`, http.StatusConflict, false},
		{"/cancellations", `{"order":"c","cents":113}`, http.StatusConflict, false},
		{"/cancellations", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/shipments", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/shipments", `{"order":"c","cents":117}`, http.StatusConflict, false},
		{"/refunds", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/refunds", `nonsense`, http.StatusBadRequest, false},
	} {
		status, e, err := post(t, url+c.path, c.body, c.body)
		if err != nil || status != c.status || e.OK != c.ok {
			t.Errorf("%s %s: %d, %+v, %v", c.path, c.body, status, e, err)
		}
	}
	var kinds []string
	_, of := get(t, url+"/orders/a")
	for _, e := range of {
		kinds = append(kinds, e.Kind)
	}
	want := []string{"authorization", "charge", "booking", "booking", "cancellation", "shipment", "refund"}
	if !slices.Equal(kinds, want) {
		t.Errorf("order a: %q, want %q", kinds, want)
	}
	if status, of := get(t, url+"/orders/c"); status != http.StatusOK || len(of) != 0 {
		t.Errorf("order c: %d, %v", status, of)
	}
	if _, all := get(t, url+"/ledger"); len(all) != 8 || lines(t, ledger) != 8 {
		t.Errorf("%d entries in the ledger, %d in its file, want 8", len(all), lines(t, ledger))
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
		status int // zero means no answer
		done   int
	}{
		{"refuse", Faults{Refuse: 1}, http.StatusServiceUnavailable, 0},
		{"throttle", Faults{Throttle: 1}, http.StatusTooManyRequests, 0},
		{"fail", Faults{Fail: 1}, http.StatusInternalServerError, 0},
		{"break", Faults{Break: 1}, http.StatusInternalServerError, 1},
		{"lose", Faults{Lose: 1}, 0, 1},
		{"late", Faults{Late: 1, LateBy: time.Millisecond}, http.StatusOK, 1},
		{"outage", Faults{Every: time.Hour, Outage: time.Hour}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, ledger := start(t, c.faults)
			status, _, err := post(t, url+"/bookings", "", `{"order":"a","cents":1}`)
			if status != c.status || (err == nil) != (c.status != 0) {
				t.Errorf("status %d, %v", status, err)
			}
			if n := lines(t, ledger); n != c.done {
				t.Errorf("%d entries, want %d", n, c.done)
			}
		})
	}
	url, ledger := start(t, Faults{Lose: 1, Only: "/shipments"})
	if status, _, err := post(t, url+"/bookings", "", `{"order":"a","cents":1}`); err != nil || status != http.StatusOK {
		t.Errorf("a booking where shipments are lost: status %d, %v", status, err)
	}
	if status, _, err := post(t, url+"/shipments", "k", `{"order":"a","cents":1}`); err == nil || lines(t, ledger) != 2 {
		t.Errorf("a shipment that is lost: status %d", status)
	}
	url, _ = start(t, Faults{Blind: true})
	if status, _ := get(t, url+"/orders/a"); status != http.StatusServiceUnavailable {
		t.Errorf("blind: status %d", status)
	}
}

// Shares add up: of many requests each fate meets as many as were asked for.
func TestShares(t *testing.T) {
	f := newFates(Faults{Refuse: 0.1, Throttle: 0.05, Fail: 0.1, Break: 0.05, Lose: 0.2, Late: 0.1}, 1)
	var got [late + 1]int
	for range 10_000 {
		fate, _ := f.draw("/charges")
		got[fate]++
	}
	for fate, want := range map[fate]int{well: 4000, refused: 1000, throttled: 500, failed: 1000, broke: 500, lost: 2000, late: 1000} {
		if n := got[fate]; n < want-200 || n > want+200 {
			t.Errorf("fate %d met %d, want about %d", fate, n, want)
		}
	}
}

func TestToken(t *testing.T) {
	l, err := OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := NewGateway(l, Faults{}, "sesame", 1).Handler()
	for auth, want := range map[string]int{"": http.StatusUnauthorized, "Bearer open": http.StatusUnauthorized, "Bearer sesame": http.StatusOK} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ledger", nil)
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: status %d, want %d", auth, w.Code, want)
		}
	}
}

// A gateway that is started again knows its keys; a line cut short is gone.
func TestLedgerAgain(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger.jsonl")
	l, err := OpenLedger(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := l.Append(Entry{Kind: "charge", Key: "k", Order: "a", Cents: 5, OK: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.file.WriteAt([]byte(`{"kind":"cha`), l.size); err != nil {
		t.Fatal(err)
	}
	l.Close()
	for range 2 {
		l, err := OpenLedger(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := l.ByKey("charge", "k"); !ok || got != e {
			t.Errorf("%+v, %v; want %+v", got, ok, e)
		}
		l.Close()
	}
	if n := lines(t, name); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
	if err := os.WriteFile(name, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(name); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a damaged ledger: %v", err)
	}
}
