package plan_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/weirflow/weir/internal/plan"
)

func FuzzPayload(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"a":1}`, `{"base64":"aGk="}`, `{"a":"<b>&"}`, "\xff\x00", "{\n}", `{"base64"`, "\"\u2028\"", "1", " 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := json.Marshal(plan.Entry{Result: data})
		if err != nil {
			t.Fatal(err)
		}
		got, err := plan.ParseEntry("x", doc)
		if err != nil || !bytes.Equal(got.Result, data) {
			t.Fatalf("%q was read back from %s as %q, %v", data, doc, got.Result, err)
		}
	})
}
