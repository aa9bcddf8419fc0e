package journal_test

import (
	"strings"
	"testing"

	"github.com/weirflow/weir/journal"
)

// What Encode accepts Parse reads: a log that took what nobody can read back
// would be lost.
func TestNothingIsEncodedThatCannotBeRead(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	outputs := func(port, typ string, journals ...string) []journal.Output {
		o := journal.Output{Port: port, Type: typ, First: 1, Count: 1, Journals: journals}
		o.Records, _ = journal.AppendRecord(nil, -1, &journal.Record{Payload: []byte("1")})
		return []journal.Output{o}
	}
	consumed := func(name string) []journal.Consumed {
		return []journal.Consumed{{Kind: journal.Run, Journal: name, From: 1, To: 1}}
	}
	longest := journal.Foreign{Run: text(64), Journal: text(128) + "." + text(128)}
	for _, tc := range []struct {
		name string
		fits bool
		t    journal.Transition
	}{
		{"longest names", true, journal.Transition{Stage: text(128), Outputs: outputs(text(128), text(200)), Consumed: consumed(text(128) + "." + text(128))}},
		{"stage", false, journal.Transition{Stage: text(journal.MaxName + 1)}},
		{"port", false, journal.Transition{Outputs: outputs(text(journal.MaxName+1), "t")}},
		{"type", false, journal.Transition{Outputs: outputs("p", text(journal.MaxName+1))}},
		{"longest journal of a cause", true, journal.Transition{Outputs: outputs("p", "t", longest.Text())}},
		{"journal of a cause", false, journal.Transition{Outputs: outputs("p", "t", text(journal.MaxForeign+1))}},
		{"journal", false, journal.Transition{Consumed: consumed(text(journal.MaxName + 1))}},
		{"code", false, journal.Transition{Code: text(journal.MaxName + 1)}},
		{"table", false, journal.Transition{State: []journal.State{{Table: text(journal.MaxName + 1)}}}},
		{"longest position", true, journal.Transition{Position: &journal.Position{Value: text(journal.MaxKey), Part: text(journal.MaxKey)}}},
		{"position", false, journal.Transition{Position: &journal.Position{Value: text(journal.MaxKey + 1)}}},
		{"part", false, journal.Transition{Position: &journal.Position{Part: text(journal.MaxKey + 1)}}},
		{"position of a checkpoint", false, journal.Transition{Check: &journal.Checkpoint{Position: &journal.Position{Value: text(journal.MaxKey + 1)}}}},
		{"snapshot", false, journal.Transition{Check: &journal.Checkpoint{Snapshot: text(2*journal.MaxName + 1)}}},
		{"timer", false, journal.Transition{Timers: []journal.Timer{{ID: text(journal.MaxKey + 1)}}}},
		{"key of a timer", false, journal.Transition{Timers: []journal.Timer{{Key: []byte(text(journal.MaxKey + 1))}}}},
		{"reason of a timer", false, journal.Transition{Timers: []journal.Timer{{Reason: text(journal.MaxName + 1)}}}},
		{"signal", false, journal.Transition{Consumed: []journal.Consumed{{Kind: journal.Signalled, ID: text(journal.MaxKey + 1)}}}},
	} {
		if tc.t.Stage == "" {
			tc.t.Stage = "s"
		}
		tc.t.Number = 1
		var enc journal.Encoder
		frames, err := enc.Encode(&tc.t)
		if !tc.fits {
			if err == nil || !strings.Contains(err.Error(), "limit") {
				t.Errorf("%s: Encode = %v, want an error that names the limit", tc.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: Encode: %v", tc.name, err)
			continue
		}
		var got journal.Transition
		if err := journal.Parse(frames[0].Body, &got); err != nil {
			t.Errorf("%s: it was written and cannot be read: %v", tc.name, err)
		}
	}
}
