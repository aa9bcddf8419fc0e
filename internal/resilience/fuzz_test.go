package resilience_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

// Whatever is on record, a call is refused for no longer than the breaker's time.
func FuzzRestore(f *testing.F) {
	for _, seed := range []string{
		`{"attempt":1,"outcome":"unknown","at":"2026-03-01T11:59:59Z","took":1000000000}`,
		`{"attempt":1,"outcome":"not done","kind":"remote","reason":"503","retryAfter":5,"at":"2026-03-01T11:59:58Z","took":-7}` +
			`{"attempt":2,"outcome":"unknown","kind":"timeout","at":"9999-12-31T23:59:59Z","took":9223372036854775807}` +
			`{"attempt":-3,"outcome":"done","key":"k","at":"0001-01-01T00:00:00Z"}`,
		`{"attempt":1,"outcome":"done"}{"attempt":1,"outcome":"unknown","at":"0001-01-01T00:00:00Z","took":9223372036854775807}`,
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, rules uint8) {
		dec := json.NewDecoder(bytes.NewReader(data))
		var entries []plan.Entry
		for len(entries) < 50 {
			var e plan.Entry
			if dec.Decode(&e) != nil {
				break
			}
			if e.Type = plan.EntryOutcome; e.By == "attempt" {
				e.Type, e.By = plan.EntryAttempt, ""
			}
			entries = append(entries, e)
		}
		p := plan.Breaker{OpenFor: time.Minute, Probes: int(rules>>4)%3 + 1, Least: 1, Window: 4}
		if rules&1 != 0 {
			p.Failures = 1
		}
		if rules&2 != 0 {
			p.Ratio = 0.5
		}
		if rules&4 != 0 {
			p.Window, p.Over = 0, time.Minute
		}
		if rules&8 != 0 {
			p.Slow, p.SlowRatio = time.Second, 0.5
		}
		c := newClock()
		g := resilience.NewSet(c.now, nil).Guard("", plan.Guards{Breaker: &p, Rate: &plan.Rate{PerSecond: 1, Burst: 3}})
		g.Restore(entries)
		c.add(time.Minute) // in which the bucket gains more tokens than there are entries
		leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatalf("%v, and it is %v", err, c.t)
		}
		leave(nil, 0)
	})
}
