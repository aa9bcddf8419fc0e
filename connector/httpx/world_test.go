package httpx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// An answer makes one.
type answer func(r *http.Request) (*http.Response, error)

// A service answers in memory, so that time can be virtual, and remembers what it
// was asked and when.
type service struct {
	began  time.Time
	answer answer

	mu    sync.Mutex
	calls []string // "GET /orders?after=2 at 1m0s"
}

func serve(a answer) *service {
	return &service{began: time.Now(), answer: a}
}

func (s *service) client() *http.Client { return &http.Client{Transport: s} }

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s at %v", r.Method, r.URL.RequestURI(), time.Since(s.began)))
	s.mu.Unlock()
	res, err := s.answer(r)
	if res != nil {
		res.Request = r
	}
	return res, err
}

// says is an answer. Headers are "Name: value".
func says(status int, body string, headers ...string) (*http.Response, error) {
	res := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		res.Header.Add(name, value)
	}
	return res, nil
}

// A breaking body ends with an error.
type breaking struct{ io.Reader }

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
func (breaking) Close() error { return nil }

func breaks(body string) (*http.Response, error) {
	res, err := says(http.StatusOK, "")
	res.Body, res.ContentLength = breaking{strings.NewReader(body)}, -1
	return res, err
}

// A disk is a log that outlives the processes that write it; each of them may die
// before it places a transition.
type disk struct {
	log   *memory.Log
	fatal journal.LSN // zero means that nobody dies
}

var errDied = errors.New("the process died")

var quiet = slog.New(slog.DiscardHandler)

func (d *disk) options() weir.Options {
	return weir.Options{Logger: quiet, Harness: &plan.Harness{Log: func(m journal.Manifest) journal.Log {
		if d.log == nil {
			d.log = memory.New(m, memory.Options{Fault: func(next journal.LSN) error {
				if next == d.fatal {
					return errDied
				}
				return nil
			}})
			return d.log
		}
		next, err := d.log.Reopen()
		if err != nil {
			panic(err)
		}
		d.log = next
		return next
	}}}
}

// journal returns the payloads of a journal.
func (d *disk) journal(t *testing.T, stage, port string) (all []string) {
	t.Helper()
	log, err := d.log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	d.log = log
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	trs := journal.Transitions(in)
	for p := (journal.Placed{}); ; {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			if err := errors.Join(trs.Close(), log.Close()); err != nil {
				t.Fatal(err)
			}
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if p.Stage != stage || o.Port != port {
				continue
			}
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				all = append(all, string(rec.Payload))
			}
		}
	}
}

// everyDeath runs def once for each transition before which its process can die,
// and each time goes on with the run in another process. fresh is called before
// each pair of processes, check after it.
func everyDeath(t *testing.T, def *weir.Definition, fresh func(), check func(at journal.LSN, d *disk)) {
	t.Helper()
	for at := journal.LSN(1); ; at++ {
		d := &disk{fatal: at}
		fresh()
		sum, err := def.Run(t.Context(), d.options())
		died := sum.Status == weir.Interrupted
		if !died && err != nil {
			t.Fatalf("without a death: %v", err)
		}
		if died {
			d.fatal = 0
			if sum, err = def.Run(t.Context(), d.options()); err != nil || sum.Epoch != 2 {
				t.Fatalf("after death at %d: %+v, %v", at, sum, err)
			}
		}
		check(at, d)
		if !died {
			if at < 5 {
				t.Fatalf("the run has %d transitions only", at-1)
			}
			return
		}
	}
}

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

func (o order) Validate() error {
	if o.Cents < 0 {
		return errors.New("cents are negative")
	}
	return nil
}

func none[T any](context.Context, T) error { return nil }
