package campaign_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/vfs"
)

// A meter's readings and their sums had three forms.
type (
	readingV1 struct {
		Device string
		Milli  int
	}
	readingV2 struct {
		Device string
		Micro  int
	}
	readingV3 struct {
		Meter string `json:"meter"`
		Micro int    `json:"micro"`
		Tags  []string
	}
	sumV1 struct{ Milli, N int }
	sumV2 struct {
		Micro, N int
		Devices  []string
	}
	sumV3 struct {
		Micro int `json:"micro"`
		N     int `json:"n"`
		Seen  map[string]int
	}
)

func (readingV1) EventType() string { return "reading.v1" }
func (readingV2) EventType() string { return "reading.v2" }
func (readingV3) EventType() string { return "reading.v3" }
func (sumV1) EventType() string     { return "sum.v1" }
func (sumV2) EventType() string     { return "sum.v2" }
func (sumV3) EventType() string     { return "sum.v3" }

func readingTo2(v readingV1) (readingV2, error) { return readingV2{v.Device, 1000 * v.Milli}, nil }
func readingTo3(v readingV2) (readingV3, error) {
	return readingV3{v.Device, v.Micro, []string{v.Device}}, nil
}
func sumTo2(v sumV1) (sumV2, error) { return sumV2{1000 * v.Milli, v.N, nil}, nil }
func sumTo3(v sumV2) (sumV3, error) { return sumV3{v.Micro, v.N, nil}, nil }

// metered is how many readings there are.
const metered = 24

// metering is the flow in one of its forms: R is a reading, S a sum.
func metering[R, S any](read func(i int) R, device func(R) string, add func(*S, R), up ...event.Upcaster) *weir.Definition {
	return weir.Define("metering", func(f *weir.Flow) {
		f.Upcast(up...)
		var all []R
		for i := range metered {
			all = append(all, read(i))
		}
		in := weir.From(f, "in", few[R]{all, 2})
		keep := weir.Filter(in, "keep", func(v R) (bool, error) {
			if device(v) == "d2" {
				return false, errors.New("broken")
			}
			return true, nil
		}, weir.OnError{Budget: weir.Budget{Share: 1}})
		sums := weir.Reduce(weir.KeyBy(keep, device), "sum", weir.Zero[string, S], func(s *S, v R) error {
			add(s, v)
			return nil
		}, weir.EmitEvery(3), weir.EmitAtEnd())
		weir.Each(sums, "show", none[S])
		top := weir.TopN(weir.All(keep), "top", 3, device, func(a, b R) int { return strings.Compare(device(a), device(b)) })
		weir.Each(top, "rank", none[weir.Ranking[R]])
		weir.Each(weir.DeadLetters(in, "keep"), "broken", none[weir.Failed[R]])
	})
}

func meteringAt(version int) *weir.Definition {
	name := func(i int) string { return fmt.Sprintf("d%d", i%4) }
	up := []event.Upcaster{
		event.Upcast("reading.v1", readingTo2), event.Upcast("reading.v2", readingTo3),
		event.Upcast("sum.v1", sumTo2), event.Upcast("sum.v2", sumTo3),
	}
	switch version {
	case 1:
		return metering(func(i int) readingV1 { return readingV1{name(i), i} }, func(v readingV1) string { return v.Device },
			func(s *sumV1, v readingV1) { s.Milli, s.N = s.Milli+v.Milli, s.N+1 })
	case 2:
		return metering(func(i int) readingV2 { return readingV2{name(i), 1000 * i} }, func(v readingV2) string { return v.Device },
			func(s *sumV2, v readingV2) { s.Micro, s.N = s.Micro+v.Micro, s.N+1 }, up...)
	default:
		return metering(func(i int) readingV3 { return readingV3{name(i), 1000 * i, []string{name(i)}} }, func(v readingV3) string { return v.Meter },
			func(s *sumV3, v readingV3) { s.Micro, s.N = s.Micro+v.Micro, s.N+1 }, up...)
	}
}

// inForm3 returns a payload of the run as the third form has it.
func inForm3(typ string, data []byte) (any, error) {
	as := func(v any) error { return json.Unmarshal(data, v) }
	outer, inner, held := strings.Cut(strings.TrimSuffix(typ, "]"), "[")
	switch {
	case held && outer == "Failed":
		var f struct{ Input json.RawMessage }
		if err := as(&f); err != nil {
			return nil, err
		}
		return inForm3(inner, f.Input)
	case held:
		var list []json.RawMessage
		if err := as(&list); err != nil {
			return nil, err
		}
		var all []any
		for _, d := range list {
			v, err := inForm3(inner, d)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, nil
	}
	var r1 readingV1
	var r2 readingV2
	var r3 readingV3
	var s1 sumV1
	var s2 sumV2
	var s3 sumV3
	switch typ {
	case "reading.v1":
		err := as(&r1)
		r2, _ = readingTo2(r1)
		r3, _ = readingTo3(r2)
		return r3, err
	case "reading.v2":
		err := as(&r2)
		r3, _ = readingTo3(r2)
		return r3, err
	case "reading.v3":
		err := as(&r3)
		return r3, err
	case "sum.v1":
		err := as(&s1)
		s2, _ = sumTo2(s1)
		s3, _ = sumTo3(s2)
		return s3, err
	case "sum.v2":
		err := as(&s2)
		s3, _ = sumTo3(s2)
		return s3, err
	case "sum.v3":
		err := as(&s3)
		return s3, err
	}
	return nil, fmt.Errorf("a %s", typ)
}

// forms returns every record of the data ports in the third form.
func (o *outcome) forms(t testing.TB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, name := range []string{"keep.out", "keep.dead", "sum.out", "top.out"} {
		for i, payload := range o.ports[name] {
			v, err := inForm3(o.typesOf[name][i], []byte(payload))
			if err != nil {
				t.Errorf("%s:%d: %v", name, i+1, err)
			}
			all[name] = append(all[name], fmt.Sprintf("%+v", v))
		}
	}
	return all
}

func runMetering(t testing.TB, fsys vfs.FS, version int) (weir.Summary, error) {
	t.Helper()
	o := options(fsys)
	o.CheckpointBytes = 1 << 10
	if dir, err := newest(fsys, "metering"); err == nil && dir != "" {
		o.Run = path.Base(dir)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errHangs)
	defer cancel()
	return meteringAt(version).Run(ctx, o)
}

// A run goes through two changes of its payloads and its state, and dies before any
// operation, with checkpoints before and after each: it comes out as a run of the
// newest code alone.
func TestUpcastCrashEverywhere(t *testing.T) {
	t.Parallel()
	disk := vfs.NewMemory()
	world := vfs.NewFaults(disk, nil)
	if sum, err := runMetering(t, world, 3); err != nil || sum.Status != weir.Completed {
		t.Fatalf("the run that nothing happens to: %+v, %v", sum, err)
	}
	dir, err := newest(disk, "metering")
	if err != nil {
		t.Fatal(err)
	}
	calm, err := inspect(t.Context(), disk, dir)
	if err != nil {
		t.Fatal(err)
	}
	want, ops := calm.forms(t), world.Count()
	if len(want["sum.out"]) == 0 || len(want["keep.dead"]) == 0 || len(want["top.out"]) == 0 {
		t.Fatalf("the flow does not do everything that it should: %v", want)
	}
	var epochs [4]atomic.Int64 // by how many definitions a run had
	each(t, ops*2, func(i int) {
		n := 1 + (i-1)/2
		rng := rand.New(rand.NewPCG(uint64(i), 5))
		disk := vfs.NewMemory()
		fail := func(format string, args ...any) {
			t.Errorf("death before operation %d of %d, %d: %s", n, ops, i%2, fmt.Sprintf(format, args...))
		}
		versions := []int{1, 2, 2, 3}
		for session := 0; ; session++ {
			version := versions[min(session, len(versions)-1)]
			var stop func(vfs.Op) vfs.Fault
			switch {
			case session == 0:
				stop = vfs.StopAt(n)
			case session < len(versions)-1:
				stop = vfs.StopAt(1 + rng.IntN(max(20, ops/2)))
			}
			world := vfs.NewFaults(disk, stop)
			sum, err := runMetering(t, world, version)
			if world.Stopped() {
				if i%2 == 0 {
					disk = disk.Kill()
				} else {
					disk = disk.Crash(rng)
				}
				continue
			}
			if err != nil && sum.Status != weir.Completed && !strings.Contains(err.Error(), "is completed") {
				fail("session %d, form %d: %+v, %v", session, version, sum, err)
				return
			}
			break
		}
		dir, err := newest(disk, "metering")
		if err != nil {
			fail("%v", err)
			return
		}
		got, err := inspect(t.Context(), disk, dir)
		if err != nil {
			fail("%v", err)
			return
		}
		for _, p := range got.problems {
			fail("check: %v", p)
		}
		definitions := 1
		for _, e := range got.epochs {
			if e.Redefined != nil {
				definitions++
			}
		}
		epochs[definitions].Add(1)
		if diff := cmp.Diff(want, got.forms(t)); diff != "" {
			fail("%d definitions (-want +got):\n%s", definitions, diff)
		}
	})
	t.Logf("runs with 1, 2, 3 definitions: %d, %d, %d", epochs[1].Load(), epochs[2].Load(), epochs[3].Load())
	if !t.Failed() && epochs[3].Load() == 0 {
		t.Error("no run had three definitions")
	}
}
