package engine_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// BenchmarkChain measures the engine's own cost for each stage and record: a
// source, maps and a counting sink over a log that keeps nothing, beside what
// encoding, copying and summing one payload costs.
func BenchmarkChain(b *testing.B) {
	for _, stages := range []int{1, 3, 10} {
		b.Run(fmt.Sprintf("stages=%d", stages), func(b *testing.B) {
			floor := floorCost()
			n := 400_000
			for b.Loop() {
				f := newBuild()
				f.source("s0", 512, upTo(n)...)
				for i := 1; i < stages; i++ {
					f.quick(fmt.Sprint("s", i), fmt.Sprint("s", i-1))
				}
				count := f.counter("out", fmt.Sprint("s", stages-1))
				before := cpu()
				r, err := engine.Start(context.Background(), engine.Config{Flow: f.flow, Log: &sinkhole{}})
				if err != nil {
					b.Fatal(err)
				}
				if res, err := r.Wait(); err != nil || *count != n {
					b.Fatal(res, err, *count)
				}
				each := float64(cpu()-before) / float64(n*(stages+1))
				b.ReportMetric(each, "ns/stage-record")
				b.ReportMetric(each/floor, "×floor")
			}
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// floorCost is what the bare work on one payload costs, in nanoseconds.
func floorCost() float64 {
	const n = 1 << 20
	buf, log := make([]byte, 0, n*8), make([]byte, 0, n*8)
	var sum uint32
	h := sha256.New()
	began := cpu()
	for i := range n {
		at := len(buf)
		buf = strconv.AppendInt(buf, int64(i), 10)
		sum ^= wire.Checksum(buf[at:])
	}
	log = append(log, buf...)
	h.Write(log)
	h.Sum(nil)
	if sum == 1 {
		return 0
	}
	return float64(cpu()-began) / n
}

// quick is a map without the care that tests need.
func (b *build) quick(name, from string) {
	n, ps := b.node(name, "map", "out")
	n.Handler = &quick{node: n, out: ps[0]}
	b.inputs(n, []string{from})
}

type quick struct {
	node *plan.Node
	out  *port
}

func (q *quick) Handle(_ int, b *plan.Batch, from, to int) (int, bool, *plan.Failure) {
	values := b.Values.([]int64)
	for i := from; i < to; i++ {
		q.node.Turn.Item = q.node.Turn.Base + i - from
		q.out.emit(values[i] + 1)
	}
	return to, false, nil
}

func (q *quick) Bury(int, *plan.Batch, int, *plan.Failure) {}

// counter is a sink that counts.
func (b *build) counter(name, from string) *int {
	n, ps := b.node(name, "sink")
	c := &counter{sink: sink{node: n, dead: ps[0], w: &world{}}}
	n.Sink = c
	b.inputs(n, []string{from})
	return &c.n
}

type counter struct {
	sink
	n int
}

func (c *counter) Open(context.Context, plan.At) (plan.Deliverer, error) { return c, nil }

func (c *counter) Deliver(_ context.Context, _ *plan.Batch, from, to, _ int, _ bool) (map[int]error, error) {
	c.n += to - from
	return nil, nil
}

// A sinkhole is a log that copies and sums what it is given and forgets it.
type sinkhole struct {
	journal.Log
	mu    chan struct{}
	lsn   journal.LSN
	buf   []byte
	watch func(journal.LSN, error)
}

func (l *sinkhole) Manifest() journal.Manifest {
	l.mu = make(chan struct{}, 1)
	return journal.Manifest{Epochs: []journal.Epoch{{Number: 1, First: 1}}}
}

func (l *sinkhole) Append(_ context.Context, _ journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	l.mu <- struct{}{}
	defer func() { <-l.mu }()
	for _, f := range frames {
		l.buf = append(l.buf[:0], f.Body...)
		wire.Checksum(l.buf)
		sha256.Sum256(l.buf)
		l.lsn++
	}
	l.watch(l.lsn, nil)
	return l.lsn, nil
}

func (l *sinkhole) Durable() journal.LSN                            { return 0 }
func (l *sinkhole) Want(journal.LSN)                                {}
func (l *sinkhole) Await(context.Context, journal.LSN) error        { return nil }
func (l *sinkhole) WriteSnapshot(string, []byte) error              { return nil }
func (l *sinkhole) Watch(fn func(journal.LSN, error)) (stop func()) { l.watch = fn; return func() {} }
