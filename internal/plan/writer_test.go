package plan_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

func typeOf[T any](t *testing.T) *payload.Type[T] {
	t.Helper()
	typ, err := payload.For[T](event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

type point struct {
	X, Y float64
	Name string
}

// read returns payloads and causes of an output.
func read(t *testing.T, o journal.Output) (payloads []string, items [][]int) {
	t.Helper()
	var r journal.Record
	rs := journal.NewRecords(&o)
	for {
		_, ok := rs.Next(&r)
		if !ok {
			break
		}
		payloads = append(payloads, string(r.Payload))
		items = append(items, append([]int{}, r.Items...))
	}
	if err := rs.Err(); err != nil {
		t.Fatal(err)
	}
	return payloads, items
}

func TestWriterTakesBack(t *testing.T) {
	turn := &plan.Turn{}
	w := plan.NewWriter("out", typeOf[int](t), turn)
	emit := func(item int, vs ...int) {
		turn.Item = item
		for _, v := range vs {
			w.EmitFrom(v, &plan.Cause{Key: "k", HasKey: v%2 == 1})
		}
	}
	emit(0, 1, 2)
	emit(1, 3, 4, 5)
	w.Undo()
	emit(2)
	w.Undo()
	emit(2, 6, 7)
	emit(5, 8, 8, 8)
	w.Rollback(5)
	o, b := w.Seal(10, 0)
	payloads, items := read(t, o)
	if diff := cmp.Diff([]string{"1", "2", "6", "7", "8"}, payloads); diff != "" {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]int{{0}, {0}, {2}, {2}, {5}}, items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{1, 2, 6, 7, 8}, b.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"k", "", "", "k", ""}, b.Keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if o.First != 10 || o.Count != 5 || w.Len() != 0 || w.Size() != 0 {
		t.Errorf("Seal() = first %d, count %d, leaves %d records in %d bytes", o.First, o.Count, w.Len(), w.Size())
	}
}

func TestWriterRefusesWhatIsNotReadBack(t *testing.T) {
	turn := &plan.Turn{}
	w := plan.NewWriter("out", typeOf[point](t), turn)
	w.Emit(point{X: 1})
	w.Emit(point{Y: math.NaN()})
	w.Emit(point{X: 3})
	if err := w.Err(); err == nil || turn.Err == nil || !strings.Contains(err.Error(), "emit to out") || event.KindOf(err) != event.KindValidation {
		t.Errorf("Err() = %v, want one that names the port, of kind validation; turn has %v", err, turn.Err)
	}
	if w.Len() != 2 {
		t.Errorf("Len() = %d, want the two that can be written", w.Len())
	}
	w.Undo()
	if err := w.Err(); err != nil || w.Len() != 0 {
		t.Errorf("after Undo Err() = %v, Len() = %d", err, w.Len())
	}
}

type superstitious int

func (s superstitious) MarshalJSON() ([]byte, error) { return []byte(strconv.Itoa(int(s))), nil }

func (s *superstitious) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(string(b))
	if *s = superstitious(n); n == 13 {
		return errors.New("unlucky")
	}
	return err
}

func TestWriterReadsBackWhatHasItsOwnEncoding(t *testing.T) {
	turn := &plan.Turn{}
	w := plan.NewWriter("out", typeOf[superstitious](t), turn)
	w.Emit(13)
	if err := w.Err(); err == nil || !strings.Contains(err.Error(), "cannot be read back") || !strings.Contains(err.Error(), "unlucky") {
		t.Errorf("Err() = %v", err)
	}
}

// A value that comes out as it went in is written with the bytes that it had.
func TestWriterReusesBytes(t *testing.T) {
	in := &plan.Batch{
		Journal: "in.out", Type: "point", First: 1, N: 2, Values: []point{{1, 2, "a"}, {3, 4, "b"}},
		Raw: []byte(`{ "X":1,"Y":2,"Name":"a" }{ "X":3,"Y":4,"Name":"b" }`), Offs: []uint32{0, 26, 26, 52},
	}
	in.CRCs = []uint32{wire.Checksum(in.Payload(0)), wire.Checksum(in.Payload(1))}
	turn := &plan.Turn{Base: 7}
	w := plan.NewWriter("out", typeOf[point](t), turn)
	w.Watch(in, 1)
	turn.Item = 7
	w.Emit(point{3, 4, "b"})
	w.Emit(point{3, 5, "b"})
	w.Watch(nil, 0)
	w.Emit(point{3, 4, "b"})
	o, b := w.Seal(1, 0)
	payloads, _ := read(t, o)
	want := []string{`{ "X":3,"Y":4,"Name":"b" }`, `{"X":3,"Y":5,"Name":"b"}`, `{"X":3,"Y":4,"Name":"b"}`}
	if diff := cmp.Diff(want, payloads); diff != "" {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
	for i, p := range payloads {
		if b.CRCs[i] != wire.Checksum([]byte(p)) {
			t.Errorf("CRC of record %d is not that of its payload", i)
		}
	}
}

// Zero and negative zero are equal and written differently: readers get what is
// written.
func TestWriterTellsZerosApart(t *testing.T) {
	negative := math.Copysign(0, -1)
	in := &plan.Batch{
		Type: "point", N: 2, Values: []point{{1, 0, "a"}, {1, negative, "a"}},
		Raw: []byte(`{"X":1,"Y":0,"Name":"a"}{"X":1,"Y":-0,"Name":"a"}`), Offs: []uint32{0, 24, 24, 49},
	}
	in.CRCs = []uint32{wire.Checksum(in.Payload(0)), wire.Checksum(in.Payload(1))}
	for _, y := range []float64{0, negative} {
		for item := range 2 {
			w := plan.NewWriter("out", typeOf[point](t), &plan.Turn{Item: item})
			w.Watch(in, 0)
			w.Emit(point{1, y, "a"})
			o, b := w.Seal(1, 0)
			again, err := plan.NewDecoder(typeOf[point](t)).Decode("s.out", &o, 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			got, want := again.Values.([]point)[0].Y, b.Values.([]point)[0].Y
			if math.Signbit(got) != math.Signbit(y) || math.Signbit(want) != math.Signbit(y) {
				t.Errorf("for item %d %v was emitted, %v recorded, readers got %v", item, y, got, want)
			}
		}
	}
}

func TestWriterDoesNotReuseBytesOfAnOlderType(t *testing.T) {
	in := &plan.Batch{Type: "point.v1", N: 1, Values: []point{{1, 2, "a"}}, Raw: []byte(`{"A":1}`), Offs: []uint32{0, 7}, CRCs: []uint32{1}}
	w := plan.NewWriter("out", typeOf[point](t), &plan.Turn{})
	w.Watch(in, 0)
	w.Emit(point{1, 2, "a"})
	o, _ := w.Seal(1, 0)
	if payloads, _ := read(t, o); payloads[0] != `{"X":1,"Y":2,"Name":"a"}` {
		t.Errorf("payload = %s", payloads[0])
	}
}

// A reader that catches up gets the batch from where it stands.
func TestDecodeFromWithin(t *testing.T) {
	typ := typeOf[[]int](t)
	w := plan.NewWriter("out", typ, &plan.Turn{})
	for i := range 5 {
		w.EmitFrom([]int{i}, &plan.Cause{Key: "k", HasKey: i == 3})
	}
	o, b := w.Seal(10, 99)
	d := plan.NewDecoder(typ)
	got, err := d.Decode("s.out", &o, 13, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := *b
	want.Journal, want.First, want.N = "s.out", 13, 2
	want.Values, want.Keys, want.CRCs = [][]int{{3}, {4}}, []string{"k", ""}, b.CRCs[3:]
	want.Raw, want.Offs = []byte("[3][4]"), []uint32{0, 3, 3, 6}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
	if none, err := d.Decode("s.out", &o, 15, 1); none != nil || err != nil {
		t.Errorf("Decode after the last record = %v, %v", none, err)
	}
	private := d.Private(b)
	private.Values.([][]int)[0][0] = 100
	if b.Values.([][]int)[0][0] != 0 {
		t.Error("a private batch shares its values")
	}
	o.Records = o.Records[:len(o.Records)-1]
	if _, err := d.Decode("s.out", &o, 10, 1); err == nil {
		t.Error("Decode of cut records: no error")
	}
}

// What was emitted for other inputs does not make one too large.
func TestWriterCountsByItem(t *testing.T) {
	if testing.Short() {
		t.Skip("millions of records")
	}
	turn := &plan.Turn{}
	w := plan.NewWriter("out", typeOf[bool](t), turn)
	const each = 1_500_000
	for turn.Item = range 3 {
		for range each {
			w.Emit(true)
		}
	}
	if turn.Err != nil || w.Len() != 3*each {
		t.Errorf("%d records of 3 items: %v", w.Len(), turn.Err)
	}
	text := plan.NewWriter("out", typeOf[string](t), turn)
	big := strings.Repeat("x", 33<<20)
	text.Emit(big)
	text.Emit(big)
	if err := turn.Err; err == nil || errors.Is(err, plan.ErrFull) || event.KindOf(err) != event.KindTooLarge {
		t.Errorf("66 MiB of one item: %v", err)
	}
}

func BenchmarkEmit(b *testing.B) {
	typ, err := payload.For[point](event.JSON)
	if err != nil {
		b.Fatal(err)
	}
	turn := &plan.Turn{}
	w := plan.NewWriter("out", typ, turn)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		turn.Item = n
		w.Emit(point{1, 2, "name"})
		if n++; n == 256 {
			w.Seal(1, 0)
			n = 0
		}
	}
}
