package evidence_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/evidence"
)

func ExampleAppend() {
	b := evidence.Append(nil, evidence.Moved{From: "running", To: "draining", Event: "EndOfInput"})
	fmt.Println(string(b))
	// Output: {"from":"running","to":"draining","event":"EndOfInput"}
}

// keeps checks that a record is written as text, behind what is there, and that
// the text gives the record back. The texts are in logs that exist.
func keeps[E evidence.Moved | evidence.Terminal | evidence.Contract | evidence.Receipt | evidence.Trying | evidence.Refused](t *testing.T, e E, text string) {
	t.Helper()
	if got := string(evidence.Append([]byte("> "), e)); got != "> "+text {
		t.Errorf("Append(%+v) = %s, want %s", e, got, "> "+text)
	}
	got, err := evidence.Parse[E]([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s) = %v", text, err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("Parse(%s) (-want +got):\n%s", text, diff)
	}
}

func TestTextsAreKept(t *testing.T) {
	keeps(t, evidence.Moved{From: "running", To: "failed", Event: "Panic", Reason: "index out of range"},
		`{"from":"running","to":"failed","event":"Panic","reason":"index out of range"}`)
	keeps(t, evidence.Terminal{
		Status: evidence.Failed, Reason: "no answer", Stage: "charge", Kind: "timeout", Took: 1500 * time.Millisecond,
		In: 9, Out: 7, Dead: 1, Failed: math.MaxUint64,
	}, `{"status":"failed","reason":"no answer","stage":"charge","kind":"timeout","took_ns":1500000000,"in":9,"out":7,"dead":1,"failed":18446744073709551615}`)
	// Digests are text: a JSON number would lose bits in many a reader.
	keeps(t, evidence.Contract{
		Contract: "transport", From: "orders.out", To: "charge", Gates: true, Final: true,
		Writer: evidence.Side{Count: 2, Last: 2, Digest: math.MaxUint64}, Reader: evidence.Side{Count: 1, Last: 1, Digest: 1<<53 + 1}, Parts: 2, Reason: "one is missing",
	}, `{"contract":"transport","from":"orders.out","to":"charge","passed":false,"gates":true,"final":true,`+
		`"writer":{"count":2,"last":2,"digest":"18446744073709551615"},"reader":{"count":1,"last":1,"digest":"9007199254740993"},"parts":2,"reason":"one is missing"}`)
	keeps(t, evidence.Receipt{Status: "partial", Journal: "charge.out", From: 1, To: 4, Failed: []uint64{2, 3}, Source: "sink", Note: "page 2", Phase: "finalized"},
		`{"status":"partial","journal":"charge.out","from":1,"to":4,"failed":[2,3],"source":"sink","note":"page 2","phase":"finalized"}`)
	keeps(t, evidence.Receipt{Status: "success"}, `{"status":"success"}`)
	keeps(t, evidence.Trying{Journal: "orders.out", Seq: 5}, `{"journal":"orders.out","seq":5}`)
	keeps(t, evidence.Refused{ID: "01JZ", Stage: "charge", Input: "orders.out:3@0", Verdict: "done", By: "ann", At: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), Reason: "it does not wait"},
		`{"id":"01JZ","stage":"charge","input":"orders.out:3@0","verdict":"done","by":"ann","at":"2026-03-01T09:00:00Z","reason":"it does not wait"}`)
}

func TestParseOfALaterRelease(t *testing.T) {
	got, err := evidence.Parse[evidence.Trying]([]byte(`{"journal":"orders.out","seq":5,"attempt":2}`))
	if want := (evidence.Trying{Journal: "orders.out", Seq: 5}); err != nil || got != want {
		t.Errorf("Parse = %+v, %v, want %+v", got, err, want)
	}
}

func TestParseOfNonsense(t *testing.T) {
	for _, text := range []string{"", "{", `{"seq":-1}`, `{"seq":"5"}`, "[]", `{"journal":"a"} {}`, `{"seq":18446744073709551616}`} {
		if got, err := evidence.Parse[evidence.Trying]([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "evidence: ") {
			t.Errorf("Parse(%q) = %+v, %v, want an error of evidence", text, got, err)
		}
	}
}
