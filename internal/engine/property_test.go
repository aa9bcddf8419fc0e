package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// A shape is a flow to be built again for every epoch.
type shape struct {
	stages []shapeStage
}

type shapeStage struct {
	name   string
	kind   string // source, map, filter, expand, fold, join, sink
	batch  int
	values []int64
	from   []string
	copies bool
}

// drawShape draws a flow of a few stages in which each reads earlier ones.
func drawShape(t *rapid.T) shape {
	var s shape
	var ports []string // that can be read
	for i := range rapid.IntRange(1, 3).Draw(t, "sources") {
		n := rapid.SampledFrom([]int{0, 1, 7, 60}).Draw(t, "records")
		name := fmt.Sprint("source", i)
		s.stages = append(s.stages, shapeStage{name: name, kind: "source", batch: rapid.IntRange(1, 20).Draw(t, "batch"), values: upTo(n)})
		ports = append(ports, name+".out")
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "stages") {
		name := fmt.Sprint("stage", i)
		kind := rapid.SampledFrom([]string{"map", "filter", "expand", "fold", "join", "act"}).Draw(t, "kind")
		from := rapid.SliceOfNDistinct(rapid.SampledFrom(ports), 1, min(3, len(ports)), rapid.ID[string]).Draw(t, "from")
		if kind == "join" && len(from) < 2 {
			kind = "map"
		}
		s.stages = append(s.stages, shapeStage{name: name, kind: kind, from: from, copies: rapid.Bool().Draw(t, "copies"), batch: rapid.IntRange(0, 8).Draw(t, "tuning")})
		ports = append(ports, name+".out")
		if kind == "filter" {
			ports = append(ports, name+".dead")
		}
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "sinks") {
		from := rapid.SliceOfNDistinct(rapid.SampledFrom(ports), 1, min(3, len(ports)), rapid.ID[string]).Draw(t, "from")
		s.stages = append(s.stages, shapeStage{name: fmt.Sprint("sink", i), kind: "sink", from: from})
	}
	return s
}

// want is what each journal must hold in the end, sorted.
func (s shape) want() map[string][]int64 {
	out := map[string][]int64{}
	for _, st := range s.stages {
		var in, emits, dead []int64
		for i, from := range st.from {
			if st.kind == "join" && i == 0 {
				continue // the table decides only when the rest is read
			}
			in = append(in, out[from]...)
		}
		switch st.kind {
		case "source":
			emits = st.values
		case "act":
			emits = plus100(in)
		case "map", "join":
			for _, v := range in {
				emits = append(emits, v+1)
			}
		case "filter":
			for _, v := range in {
				if v%3 == 0 {
					dead = append(dead, v)
				} else {
					emits = append(emits, v)
				}
			}
		case "expand":
			for _, v := range in {
				emits = append(emits, v, v+1)
			}
		case "fold":
			sums := map[int64]int64{}
			for _, v := range in {
				sums[v%10] += v
			}
			for _, v := range sums {
				emits = append(emits, v)
			}
		case "sink":
			emits = in
		}
		out[st.name+".out"] = slices.Sorted(slices.Values(emits))
		out[st.name+".dead"] = slices.Sorted(slices.Values(dead))
	}
	return out
}

func (s shape) build(worlds map[string]*world) *build {
	b := newBuild()
	for _, st := range s.stages {
		switch st.kind {
		case "source":
			b.source(st.name, st.batch, st.values...)
		case "fold":
			b.fold(st.name, st.from...)
		case "act":
			p := b.perform(st.name, newService(), st.from...)
			p.repeats = true
			p.node.Performing.Concurrency, p.node.Performing.Unordered = 1+st.batch%4, st.copies
			if st.batch%2 == 0 {
				p.key = func(v int64) string { return strconv.FormatInt(v%3, 10) }
			}
		case "sink":
			b.sink(st.name, worlds[st.name], st.from...).marks = true
		default:
			b.handle(st.name, func(h *handler, in int, v int64) error {
				switch {
				case st.kind == "join" && in == 0:
				case st.kind == "filter" && v%3 == 0:
					return errRefused
				case st.kind == "filter":
					h.ports[0].emit(v)
				case st.kind == "expand":
					h.ports[0].emit(v)
					h.ports[0].emit(v + 1)
				default:
					h.ports[0].emit(v + 1)
				}
				return nil
			}, st.from...).node.OnError.Budget = plan.Budget{}
		}
		n := b.flow.Nodes[len(b.flow.Nodes)-1]
		if st.kind == "join" {
			n.Inputs[0].Role = plan.TableAtEnd
		}
		if st.copies {
			n.Ports[0].Mode = plan.Copied
		}
	}
	return b
}

// A schedule is how a run is driven, epoch after epoch.
type schedule struct {
	window, batch int
	checkpoint    int64
	epochs        []epoch
}

type epoch struct {
	dies  int  // so many frames after its begin; zero means not
	stops bool //
	later int  // that often after everything rested
}

func drawSchedule(t *rapid.T) schedule {
	s := schedule{
		window:     rapid.SampledFrom([]int{1, 2, 8, 8192}).Draw(t, "window"),
		batch:      rapid.SampledFrom([]int{1, 3, 1024}).Draw(t, "batch size"),
		checkpoint: rapid.SampledFrom([]int64{1, 1000, 1 << 20}).Draw(t, "checkpoint"),
	}
	for range rapid.IntRange(0, 5).Draw(t, "epochs") {
		s.epochs = append(s.epochs, epoch{
			dies:  max(0, rapid.IntRange(-30, 120).Draw(t, "dies")),
			stops: rapid.IntRange(0, 3).Draw(t, "stops") == 0, later: rapid.IntRange(0, 5).Draw(t, "later"),
		})
	}
	return s
}

// drive runs s to its end and returns what is wrong with the outcome.
func (d schedule) drive(t *testing.T, s shape) error {
	want, worlds := s.want(), map[string]*world{}
	for _, st := range s.stages {
		if st.kind == "sink" {
			worlds[st.name] = &world{}
		}
	}
	fatal := journal.LSN(0)
	log := newLog(memory.Options{Fault: func(next journal.LSN) error {
		if next == fatal {
			return errDied
		}
		return nil
	}})
	for epochs := d.epochs; ; {
		var now epoch
		if len(epochs) > 0 {
			now, epochs = epochs[0], epochs[1:]
		}
		if fatal = 0; now.dies > 0 {
			fatal = log.Head() + journal.LSN(now.dies)
		}
		r := start(t, s.build(worlds), log, func(c *engine.Config) {
			c.Window.Records, c.Batch, c.Checkpoint.Bytes, c.Paranoid = uint64(d.window), d.batch, d.checkpoint, true
		})
		if now.stops {
			for range now.later {
				synctest.Wait()
			}
			_ = r.Stop(t.Context())
		}
		res, err := r.Wait()
		if res.Status == evidence.Completed {
			break
		}
		if res.Status != evidence.Stopped && !errors.Is(err, errDied) {
			return fmt.Errorf("%+v: %w", res, err)
		}
		_ = log.Close()
		if log, err = log.Reopen(); err != nil {
			return err
		}
	}
	for _, st := range s.stages {
		if st.kind == "sink" {
			if got := slices.Sorted(slices.Values(worlds[st.name].values())); !slices.Equal(got, want[st.name+".out"]) {
				return fmt.Errorf("%s got %v, want %v", st.name, got, want[st.name+".out"])
			}
			continue
		}
		for _, port := range []string{"out", "dead"} {
			var got []int64
			for _, text := range records(t, log, st.name, port) {
				v, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return err
				}
				got = append(got, v)
			}
			if slices.Sort(got); !slices.Equal(got, want[st.name+"."+port]) {
				return fmt.Errorf("%s.%s holds %v, want %v", st.name, port, got, want[st.name+"."+port])
			}
		}
	}
	return nil
}

// Whatever the flow, the windows, the batches and the deaths: every journal holds
// what follows from the input, and every sink that stores marks got it once.
func TestAnyFlowAnySchedule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, d := drawShape(rt), drawSchedule(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = d.drive(t, s) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}
