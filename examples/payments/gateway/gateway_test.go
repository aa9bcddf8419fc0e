package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	s := httptest.NewServer(NewGateway(l, f, 1).Handler())
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

// Twenty callers with one key move money once and get one answer.
func TestKeyed(t *testing.T) {
	url, ledger := start(t, Faults{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			status, e, err := post(t, url+"/charges", "a", `{"order":"a","cents":100}`)
			if err != nil || status != http.StatusOK || e.ID != "charge-1" || !e.OK {
				t.Errorf("%d, %+v, %v", status, e, err)
			}
		})
	}
	all.Wait()
	if n := lines(t, ledger); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	if status, _, _ := post(t, url+"/charges", "a", `{"order":"b","cents":100}`); status != http.StatusUnprocessableEntity {
		t.Errorf("the key of another request: status %d", status)
	}
}

func TestOutcomes(t *testing.T) {
	url, ledger := start(t, Faults{})
	for _, c := range []struct {
		path, body string
		status     int
		ok         bool
	}{
		{"/authorizations", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/authorizations", `{"order":"b","cents":107}`, http.StatusOK, false},
		{"/bookings", `{"order":"a","cents":100}`, http.StatusOK, true},
		{"/bookings", `{"order":"c","cents":113}`, http.StatusConflict, false},
		{"/refunds", `{"order":"c","cents":113}`, http.StatusOK, true},
		{"/refunds", `nonsense`, http.StatusBadRequest, false},
	} {
		status, e, err := post(t, url+c.path, c.body, c.body)
		if err != nil || status != c.status || e.OK != c.ok {
			t.Errorf("%s %s: %d, %+v, %v", c.path, c.body, status, e, err)
		}
	}
	for order, want := range map[string]int{"a": http.StatusOK, "c": http.StatusNotFound} {
		res, err := http.Get(url + "/bookings/" + order)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("booking of %s: status %d, want %d", order, res.StatusCode, want)
		}
	}
	if n := lines(t, ledger); n != 4 {
		t.Errorf("%d entries, want 4", n)
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
