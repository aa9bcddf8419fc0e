package event_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
)

func TestParseRef(t *testing.T) {
	for text, want := range map[string]event.Ref{
		"orders.out:17":              {Stage: "orders", Port: "out", Seq: 17},
		"orders:17":                  {Stage: "orders", Seq: 17},
		"validate.dead:2":            {Stage: "validate", Port: "dead", Seq: 2},
		"billing/eu/charge.out:1":    {Stage: "billing/eu/charge", Port: "out", Seq: 1},
		"totals~3:17":                {Stage: "totals~3", Seq: 17},
		"totals~0.out:1":             {Stage: "totals~0", Port: "out", Seq: 1},
		"a:18446744073709551615":     {Stage: "a", Seq: 1<<64 - 1},
		"a_1.b_2:3":                  {Stage: "a_1", Port: "b_2", Seq: 3},
		"g/totals~65535.unmatched:9": {Stage: "g/totals~65535", Port: "unmatched", Seq: 9},
	} {
		got, err := event.ParseRef(text)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("ParseRef(%q).String() = %q", text, got)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for _, text := range []string{
		"", ":", "orders", "orders:", "orders.out", ":17", ".out:17", "orders.:17", "orders.out:0",
		"orders.out:-1", "orders.out:+1", "orders.out:017", "orders.out: 17", " orders.out:17", "orders.out:17 ",
		"orders.out:18446744073709551616", "Orders.out:17", "orders.Out:17", "1orders.out:17", "orders..out:17",
		"orders.out.x:17", "/orders:17", "orders/:17", "a//b:17", "totals~:1", "totals~x:1", "totals~01:1",
		"totals~65536:1", "totals~1~2:1", "~1:1", "orders:17:18", "örders:17", "orders:1_7", "orders:0x1",
		strings.Repeat("a", 129) + ":1", strings.Repeat("a/", 100) + "a:1",
	} {
		if got, err := event.ParseRef(text); err == nil {
			t.Errorf("ParseRef(%q) = %+v, want an error", text, got)
		} else if got != (event.Ref{}) {
			t.Errorf("ParseRef(%q) = %+v with error %v, want the zero Ref", text, got, err)
		}
	}
}

func TestRecordID(t *testing.T) {
	id := event.RecordID{Journal: "orders.out", Seq: 17}
	for i := range id.Epoch {
		id.Epoch[i] = byte(255 - i)
	}
	text := id.String()
	got, err := event.ParseRecordID(text)
	if err != nil || got != id {
		t.Fatalf("ParseRecordID(%q) = %v, %v", text, got, err)
	}
	if ref, err := id.Ref(); err != nil || ref.String() != "orders.out:17" {
		t.Errorf("Ref() = %v, %v", ref, err)
	}
	epoch := text[strings.IndexByte(text, '@')+1:]
	for name, bad := range map[string]string{
		"no epoch":           "orders.out:17",
		"empty epoch":        "orders.out:17@",
		"short epoch":        "orders.out:17@" + epoch[1:],
		"long epoch":         "orders.out:17@" + epoch + "0",
		"upper case":         strings.ToUpper(text),
		"letter not used":    "orders.out:17@u" + epoch[1:],
		"bits to spare":      "orders.out:17@" + epoch[:25] + "1",
		"newline in epoch":   "orders.out:17@" + epoch[:25] + "\n",
		"no port":            "orders:17@" + epoch,
		"sequence 0":         "orders.out:0@" + epoch,
		"no journal":         ":17@" + epoch,
		"second at":          "orders.out:17@" + epoch + "@" + epoch,
		"something in front": "x " + text,
	} {
		if got, err := event.ParseRecordID(bad); err == nil {
			t.Errorf("%s: ParseRecordID(%q) = %v, want an error", name, bad, got)
		}
	}
}

func TestTextOfZeroRefsAndIDsIsEmpty(t *testing.T) {
	if text, err := (event.Ref{}).MarshalText(); err != nil || len(text) != 0 {
		t.Errorf("Ref{}.MarshalText() = %q, %v", text, err)
	}
	if text, err := (event.RecordID{}).MarshalText(); err != nil || len(text) != 0 {
		t.Errorf("RecordID{}.MarshalText() = %q, %v", text, err)
	}
	ref, id := event.Ref{Stage: "a", Seq: 1}, event.RecordID{Journal: "a.b", Seq: 1}
	if err := errors.Join(ref.UnmarshalText(nil), id.UnmarshalText(nil)); err != nil || ref != (event.Ref{}) || id != (event.RecordID{}) {
		t.Errorf("UnmarshalText of nothing = %v, %v, %v, want zero values", ref, id, err)
	}
}

var (
	genPart  = rapid.StringMatching(`[a-z][a-z0-9_]{0,10}`)
	genStage = rapid.Custom(func(t *rapid.T) string {
		stage := strings.Join(rapid.SliceOfN(genPart, 1, 3).Draw(t, "parts"), "/")
		if rapid.Bool().Draw(t, "slots") {
			stage += fmt.Sprintf("~%d", rapid.Uint16().Draw(t, "slot"))
		}
		return stage
	})
)

func TestRefsAndIDsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := event.Ref{Stage: genStage.Draw(t, "stage"), Port: genPart.Draw(t, "port"), Seq: rapid.Uint64Min(1).Draw(t, "seq")}
		id := event.RecordID{Journal: ref.Journal(), Seq: ref.Seq}
		copy(id.Epoch[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "epoch"))
		if got, err := event.ParseRef(ref.String()); err != nil || got != ref {
			t.Fatalf("ParseRef(%q) = %v, %v", ref, got, err)
		}
		if got, err := event.ParseRecordID(id.String()); err != nil || got != id {
			t.Fatalf("ParseRecordID(%q) = %v, %v", id, got, err)
		}
		if got, err := id.Ref(); err != nil || got != ref {
			t.Fatalf("%v.Ref() = %v, %v, want %v", id, got, err, ref)
		}
	})
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"orders.out:17", "orders:17", "a/b~3.dead:1", "a.b:0", "x", "a:99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := event.ParseRef(s)
		if err == nil && ref.String() != s {
			t.Errorf("ParseRef(%q) = %q: a second spelling", s, ref)
		}
	})
}

func FuzzParseRecordID(f *testing.F) {
	f.Add(event.RecordID{Journal: "orders.out", Seq: 17, Epoch: [16]byte{1, 2, 3}}.String())
	f.Add("orders.out:17@")
	f.Add("orders.out:17@zzzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := event.ParseRecordID(s)
		if err == nil && id.String() != s {
			t.Errorf("ParseRecordID(%q) = %q: a second spelling", s, id)
		}
	})
}

func TestValidName(t *testing.T) {
	for _, tc := range []struct {
		kind event.NameKind
		name string
		want string // part of the error; empty if the name is valid
	}{
		{event.FlowName, "payments", ""},
		{event.FlowName, "a", ""},
		{event.FlowName, strings.Repeat("a", 128), ""},
		{event.FlowName, strings.Repeat("a", 129), "129 bytes long, the limit is 128"},
		{event.FlowName, "", "flow name is empty"},
		{event.FlowName, "eu/payments", `try "eu_payments"`},
		{event.FlowName, "PaidOrders", `try "paid_orders"`},
		{event.FlowName, "7up", "must begin with a-z"},
		{event.StageName, "billing/eu/charge_2", ""},
		{event.StageName, "billing//charge", "empty part"},
		{event.StageName, "/charge", "empty part"},
		{event.StageName, "paid-orders", `try "paid_orders"`},
		{event.StageName, "Billing/Charge", `try "billing/charge"`},
		{event.StageName, "totals~3", "groups joined by /"},
		{event.StageName, strings.Repeat("a/", 100) + "a", "the limit is 128"},
		{event.StageName, "dead", ""},
		{event.GroupName, "billing", ""},
		{event.GroupName, "a/b", `group name "a/b" must begin`},
		{event.PortName, "rejected", ""},
		{event.PortName, "dead", "reserved"},
		{event.PortName, "sys", "reserved"},
		{event.PortName, "Dead", "must begin"},
		{event.PortName, "größe", "must begin"},
		{event.PortName, "a b", `try "a_b"`},
		{event.PortName, "a\x00b", `"a\x00b"`},
	} {
		err := event.ValidName(tc.kind, tc.name)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("ValidName(%v, %q) = %v, want %q in it", tc.kind, tc.name, err, tc.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), string(tc.kind)+" name") {
			t.Errorf("ValidName(%v, %q) = %q does not begin with what it is about", tc.kind, tc.name, err)
		}
	}
}

type typedError struct{}

func (typedError) Error() string         { return "slow down" }
func (typedError) ErrorKind() event.Kind { return event.KindRateLimited }

func TestKindOf(t *testing.T) {
	base := errors.New("no stock")
	for _, tc := range []struct {
		err  error
		want event.Kind
	}{
		{nil, event.KindUnknown},
		{base, event.KindUnknown},
		{context.DeadlineExceeded, event.KindUnknown},
		{event.Invalid(base), event.KindValidation},
		{event.Mark(event.KindRemote, base), event.KindRemote},
		{fmt.Errorf("charge: %w", event.Mark(event.KindTimeout, base)), event.KindTimeout},
		{event.Mark(event.KindDomain, event.Invalid(base)), event.KindDomain},
		{errors.Join(base, event.Invalid(base)), event.KindValidation},
		{fmt.Errorf("call: %w", typedError{}), event.KindRateLimited},
	} {
		if got := event.KindOf(tc.err); got != tc.want {
			t.Errorf("KindOf(%v) = %v, want %v", tc.err, got, tc.want)
		}
	}
	if err := event.Mark(event.KindRemote, nil); err != nil {
		t.Errorf("Mark(nil) = %v, want nil", err)
	}
	if !errors.Is(event.Invalid(base), base) {
		t.Error("Invalid hides the error it marks")
	}
}

func TestBare(t *testing.T) {
	for name, want := range map[string]string{
		"order.placed.v1": "order.placed", "order.placed.v12": "order.placed", "order.placed": "order.placed",
		"order.vip": "order.vip", "order.v": "order.v", "v1": "v1", ".v1": ".v1", "a.v1": "a", "order.v1.x": "order.v1.x", "": "", "7": "7", "a7": "a7",
	} {
		if got := event.Bare(name); got != want {
			t.Errorf("Bare(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestCodecNames(t *testing.T) {
	for _, c := range []event.Codec{event.JSON, event.CBOR} {
		text, err := c.MarshalText()
		var back event.Codec
		if err2 := back.UnmarshalText(text); err != nil || err2 != nil || back != c {
			t.Errorf("%v: %q, %v, %v, %v", c, text, err, back, err2)
		}
	}
	if text, err := event.Codec(9).MarshalText(); err == nil {
		t.Errorf("MarshalText of no codec = %q, want an error", text)
	}
	if err := new(event.Codec).UnmarshalText([]byte("protobuf")); err == nil || !strings.Contains(err.Error(), "json and cbor") {
		t.Errorf("UnmarshalText(protobuf) = %v", err)
	}
}

func TestUpcaster(t *testing.T) {
	u := event.Upcast("n.v1", func(n int) (string, error) {
		if n < 0 {
			return "", errors.New("negative")
		}
		return strconv.Itoa(n), nil
	})
	n := 7
	got, err := u.Apply(&n)
	if s, ok := got.(*string); !ok || *s != "7" || err != nil {
		t.Errorf("Apply(&7) = %v, %v", got, err)
	}
	n = -1
	if _, err := u.Apply(&n); err == nil || !strings.Contains(err.Error(), `"n.v1": negative`) {
		t.Errorf("Apply(&-1) = %v", err)
	}
	if _, err := u.Apply("7"); err == nil {
		t.Error("Apply of another type is not an error")
	}
}
