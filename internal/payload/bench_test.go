package payload_test

import (
	"testing"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

var (
	aLine     = line{ID: 1234567, Name: "order-line", Amount: 129900, OK: true}
	anOrder   = order{"ord-0001234567", "customer-42", "eu-central-1", "SKU-99812", 3, 12999, 389.97, true, 2, "leave at the door"}
	aShipment = shipment{
		ID: "ord-0001234567", At: time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC),
		Lines: []line{aLine, aLine}, Tags: []string{"gift", "fragile"},
	}
)

func BenchmarkCodec(b *testing.B) {
	for _, c := range []event.Codec{event.JSON, event.CBOR} {
		benchmarkCodec(b, c, "small", aLine)
		benchmarkCodec(b, c, "ten", anOrder)
		benchmarkCodec(b, c, "rich", aShipment)
	}
}

func benchmarkCodec[T any](b *testing.B, c event.Codec, name string, v T) {
	t, err := payload.For[T](c)
	if err != nil {
		b.Fatal(err)
	}
	data, err := t.Append(nil, &v)
	if err != nil {
		b.Fatal(err)
	}
	run := func(op string, f func() error) {
		b.Run("op="+op+"/type="+name+"/codec="+c.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	buf := make([]byte, 0, 2*len(data))
	run("encode", func() error { _, err := t.Append(buf, &v); return err })
	run("decode", func() error { var w T; return t.DecodeInto(data, &w) })
	if t.Mode == payload.Clone {
		run("clone", func() error { var w T; t.CloneTo(&w, &v); return nil })
	}
	run("normalize", func() error { w := v; t.Normalize(&w); return nil })
}
