package plan_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// What AppendEntry writes is what encoding/json makes of the fields.
func TestAppendEntryWritesJSON(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a", "a<b>&c", "\x00\x1f\x7f", "\"\\", "\xff", "\u2028\u2029", "é"}))
	payloads := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.SampledFrom([][]byte{
		nil, []byte("null"), []byte("{}"), []byte(`{"a":"b \" c"}`), []byte(`{"a": 1}`), []byte("[1,\n2]"), []byte(`"<"`), []byte(`{"base64":"aGk="}`),
		[]byte("\"\u2028\""), []byte("\"\u2027\""), []byte("\"\u2029"), []byte(`"\`), []byte(`{`), []byte("\"\xff\""), []byte("1 "), []byte(`"\u003c"`), []byte("\xe2\x80"),
	}))
	times := rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		return at.In(time.FixedZone("", rapid.IntRange(-30*3600, 30*3600).Draw(t, "zone")))
	})
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return texts.Draw(t, name) }
		e := plan.Entry{
			Type: text("type"), Step: text("step"), Effect: text("effect"), Version: text("version"), Key: text("key"),
			Attempt: rapid.Int().Draw(t, "attempt"), Request: payloads.Draw(t, "request"), Hash: text("hash"), Outcome: text("outcome"),
			Result: payloads.Draw(t, "result"), Kind: event.Kind(text("kind")), Reason: text("reason"), Final: rapid.Bool().Draw(t, "final"),
			RetryAfter: time.Duration(rapid.Int64().Draw(t, "retryAfter")), Took: time.Duration(rapid.Int64().Draw(t, "took")),
			By: text("by"), ID: text("id"), Emitted: rapid.Int().Draw(t, "emitted"),
		}
		if rapid.Bool().Draw(t, "has a time") {
			e.At = times.Draw(t, "at")
		}
		want, failed := json.Marshal(&e)
		got, err := plan.AppendEntry([]byte("before"), &e)
		switch {
		case failed != nil:
			if err == nil || string(got) != "before" {
				t.Fatalf("AppendEntry = %s, %v, want an error as json.Marshal has one: %v", got, err, failed)
			}
		case err != nil || string(got) != "before"+string(want):
			t.Fatalf("AppendEntry = %s, %v, want %s", got, err, want)
		}
		if err == nil && failed == nil {
			readsLikeJSON(t, got[len("before"):])
			readsLikeJSON(t, changed(t, want))
		}
		if again, err := plan.AppendUpdate(nil, 7, &e); err == nil && !bytes.Equal(plan.AppendWritten(nil, 7, e.Type, want), again) {
			t.Fatalf("AppendWritten and AppendUpdate of %s differ", want)
		}
	})
}

// changed changes one place of a text.
func changed(t *rapid.T, text []byte) []byte {
	at := rapid.IntRange(0, len(text)).Draw(t, "at")
	to := at + rapid.IntRange(0, min(3, len(text)-at)).Draw(t, "length")
	by := rapid.SampledFrom([]string{
		"", " ", ",", ":", "{", "}", "[", `"`, `\`, "0", "-0", "00", ".5", "e5", "9223372036854775808", "null", "true", "\x00", "\xff", "ü", `"step":`, `,"attempt":1`, "Z", "+25:00", `\u00`, `\u00e4`, `\x`,
	}).Draw(t, "by")
	return []byte(string(text[:at]) + by + string(text[to:]))
}

// readsLikeJSON holds that ParseEntry gives what encoding/json gives.
func readsLikeJSON(t interface{ Fatalf(string, ...any) }, text []byte) {
	var want plan.Entry
	failed := json.Unmarshal(text, &want)
	got, err := plan.ParseEntry("x", text)
	if want.Type = "x"; failed != nil {
		want = plan.Entry{}
	}
	if (err == nil) != (failed == nil) || !reflect.DeepEqual(got, want) {
		t.Fatalf("ParseEntry(%s) = %+v, %v, and encoding/json says %+v, %v", text, got, err, want, failed)
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"step":"a","attempt":-1,"request":{"a":[1,2.5e-3,"\u00e4\n",true,false,null]},"hash":"h","outcome":"done","result":"x","final":true,"at":"2026-01-02T03:04:05.6+02:00","took":1}`,
		`{"at":""}`, `{"at":"","took":1}`, `{"request":"\`, `{"request":{"a":"\u00`, `{"step":"\u0041"}`,
		`{"request":{"base64":"aGk="},"result":null,"retryAfter":1,"by":"b","id":"i","emitted":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) { readsLikeJSON(t, text) })
}

// Each field that json knows is written: one that is added to Entry must be added
// to AppendEntry.
func TestAppendEntryWritesEveryField(t *testing.T) {
	e := plan.Entry{
		Type: "t", Step: "s", Effect: "e", Version: "v", Key: "k", Attempt: 1, Request: plan.Payload("1"), Hash: "h", Outcome: "o", Result: plan.Payload("2"),
		Kind: "k", Reason: "r", Final: true, RetryAfter: 1, At: time.Unix(0, 0).UTC(), Took: 1, By: "b", ID: "i", Emitted: 1,
	}
	for field, v := range reflect.ValueOf(e).Fields() {
		if v.IsZero() {
			t.Errorf("the test does not set %s", field.Name)
		}
	}
	want, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := plan.AppendEntry(nil, &e); err != nil || !bytes.Equal(got, want) {
		t.Errorf("AppendEntry = %s, %v, want %s", got, err, want)
	}
	if got, err := plan.ParseEntry(e.Type, want); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("ParseEntry = %+v, %v, want %+v", got, err, e)
	}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := plan.Entry{
		Step: "charge", Effect: "charge", Key: "0123456789abcdef0123456789abcdef", Attempt: 1, Hash: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		Outcome: plan.OutcomeDone, Result: plan.Payload(`{"id":12345,"account":"account-00012345","cents":12345,"hops":1}`), Final: true, At: time.Now(), Took: time.Millisecond,
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = plan.AppendEntry(buf[:0], &e)
	}
}

func BenchmarkParseEntry(b *testing.B) {
	text := []byte(`{"step":"charge","effect":"charge","key":"0123456789abcdef0123456789abcdef","attempt":1,"hash":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",` +
		`"outcome":"done","result":{"id":12345,"account":"account-00012345","cents":12345,"hops":1},"final":true,"at":"2026-11-28T12:46:06.041655479Z","took":1000000}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plan.ParseEntry("", text); err != nil {
			b.Fatal(err)
		}
	}
}
