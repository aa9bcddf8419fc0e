package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/vfs"
)

// A resumption is what a child process says of its first new output, or, in the
// first epoch, of having delivered everything.
type resumption struct {
	First   time.Duration `json:"first_ns"`   // from Start to the first new output
	Process time.Duration `json:"process_ns"` // from main to the first new output
	Calls   int64         `json:"calls"`      // of handlers, until then
	Again   int64         `json:"again"`      // records delivered again, until then
}

// Balance is the state of one key.
type Balance struct {
	Account uint64 `json:"account"`
	Cents   int64  `json:"cents"`
	Count   int64  `json:"count"`
}

// keys is how many keys the stateful flow has.
const keys = 1000

// recoveryFlow has a map and either another or a reduction of 1,000 keys. calls
// counts what handlers are called with.
func recoveryFlow(kind string, n int, calls *atomic.Int64, on func(redelivery bool)) *weir.Definition {
	src := weir.Source[Small](&cyclic[Small]{values: valuesOf(makeSmall), n: n, hold: true})
	hop := func(v Small) (Small, error) {
		calls.Add(1)
		return hopSmall(v)
	}
	if kind == "maps" {
		return chainOf(3, src, hop, weir.Sink[Small](eachOf[Small](on)))
	}
	return weir.Define("keyed", func(f *weir.Flow) {
		s := weir.Map(weir.From(f, "source", src), "map", hop)
		balances := weir.Reduce(weir.KeyBy(s, func(v Small) uint64 { return v.ID % keys }), "balance",
			func(k uint64) Balance { return Balance{Account: k} },
			func(b *Balance, v Small) error {
				calls.Add(1)
				b.Cents += v.Cents
				b.Count++
				return nil
			}, weir.EmitAlways())
		weir.Into(balances, "sink", weir.Sink[Balance](eachOf[Balance](on)))
	})
}

// eachOf is a sink that calls on for each delivery.
func eachOf[T any](on func(redelivery bool)) *counting[T] {
	return &counting[T]{on: func(batch []weir.Delivery[T]) {
		for i := range batch {
			on(batch[i].Redelivery)
		}
	}}
}

// child is what a benchmark runs in a process of its own.
func child(args []string) error {
	if len(args) > 0 && args[0] == "steps" {
		return stepChild(args[1:])
	}
	return recoveryChild(args)
}

// recoveryChild runs a flow whose source yields n records in all, until delivered of them
// have reached the sink in this epoch, says so, and waits to be killed.
//
//	child DIR KIND N DELIVERED
func recoveryChild(args []string) error {
	began := time.Now()
	if len(args) != 4 {
		return fmt.Errorf("child: want a directory, a kind, a number of records and how many to wait for, got %q", args)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	wait, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	var calls atomic.Int64
	var fresh, again int // the sink's
	var start time.Time
	reached := make(chan resumption, 1) // sent to once, by the sink
	def := recoveryFlow(args[1], n, &calls, func(redelivery bool) {
		if redelivery {
			again++
			return
		}
		if fresh++; fresh == wait {
			reached <- resumption{First: time.Since(start), Process: time.Since(began), Calls: calls.Load(), Again: int64(again)}
		}
	})
	start = time.Now()
	run, err := def.Start(context.Background(), options(args[0], syncOf("group")))
	if err != nil {
		return err
	}
	select {
	case got := <-reached:
		if wait > 1 { // let the receipts be written
			if err := settled(run, uint64(n)); err != nil {
				return err
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
			return err
		}
		<-run.Done()
		return errors.New("the run ended before the process was killed")
	case <-run.Done():
		sum, err := run.Wait()
		return fmt.Errorf("the run ended %s: %w", sum.Status, err)
	}
}

// settled waits until the sink has receipts for n records.
func settled(run *weir.Run, n uint64) error {
	for range 10_000 {
		stages := run.Progress().Stages
		if stages[len(stages)-1].Out >= n {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the sink's receipts did not come")
}

// runChild runs a child until it says something, and kills it with SIGKILL.
func runChild(ctx context.Context, dir, kind string, n, delivered int) (got resumption, err error) {
	self, err := os.Executable()
	if err != nil {
		return got, err
	}
	cmd := exec.CommandContext(ctx, self, "child", dir, kind, strconv.Itoa(n), strconv.Itoa(delivered))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return got, err
	}
	if err := cmd.Start(); err != nil {
		return got, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	killed := cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if errors.Is(err, io.EOF) {
		return got, errors.New("the child process ended without a word")
	}
	if err := errors.Join(err, killed); err != nil {
		return got, err
	}
	return got, json.Unmarshal(line, &got)
}

// A history is a run that was killed after n records.
type history struct {
	n, now int // records at first; and by now, each resumption adds one
	dir    string
	bytes  int64 // in log files when it was killed
}

// interval is about how many records of the flow make one checkpoint interval of
// 16 MiB of log.
const interval = 60_000

func runRecovery(ctx context.Context, e *env, r *Report) error {
	r.about(recoveryAbout)
	for _, kind := range []string{"maps", "keyed"} {
		if !e.wants(kind) {
			continue
		}
		if err := recoverKind(ctx, e, r, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func recoverKind(ctx context.Context, e *env, r *Report, kind string) error {
	var histories []*history
	for n := interval; ; {
		if e.short {
			n = interval / 20
		}
		dir, err := e.scratch()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		h := &history{n: n, now: n, dir: dir}
		if _, err := runChild(ctx, dir, kind, n, n); err != nil {
			return fmt.Errorf("%d records: %w", n, err)
		}
		if h.bytes, err = treeSize(dir); err != nil {
			return err
		}
		histories = append(histories, h)
		if n >= recoverMost || e.short {
			break
		}
		n = nextHistory(n)
	}
	var programs []program
	for _, h := range histories {
		programs = append(programs, program{strconv.Itoa(h.n), func(ctx context.Context) (Sample, error) {
			h.now++
			got, err := runChild(ctx, h.dir, kind, h.now, 1)
			// One new record calls two handlers; all else is work done again.
			return Sample{Records: 1, Elapsed: got.First, Extra: map[string]float64{
				"process": float64(got.Process), "calls": float64(got.Calls - 2), "again": float64(got.Again),
			}}, err
		}})
	}
	got, err := interleave(ctx, e.rounds, programs)
	if err != nil {
		return err
	}
	r.keep(kind, got)
	reportRecovery(r, kind, histories, got)
	return nil
}

func nextHistory(n int) int {
	if n < 100_000 {
		return min(100_000, recoverMost)
	}
	return min(10*n, recoverMost)
}

func reportRecovery(r *Report, kind string, histories []*history, got map[string][]Sample) {
	t := r.table("B6 "+kind+": kill -9, then a new process", "records of history", "files", "Start to first new output", "spread", "process to first new output", "handlers called again", "delivered again")
	var first, last float64
	again := 0.0
	for i, h := range histories {
		ss := got[strconv.Itoa(h.n)]
		took := figure(ss, func(s Sample) float64 { return float64(s.Elapsed) })
		of := func(name string) float64 { return figure(ss, func(s Sample) float64 { return s.Extra[name] }).Max }
		t.add(count(float64(h.n)), count(float64(h.bytes))+"B", nanoseconds(took.Median), spread(took),
			nanoseconds(figure(ss, func(s Sample) float64 { return s.Extra["process"] }).Median),
			fmt.Sprintf("%.0f", of("calls")), fmt.Sprintf("%.0f", of("again")))
		if i == 0 {
			first = took.Median
		}
		last = took.Median
		again += of("calls")
	}
	n := len(histories)
	if n > 1 {
		r.verdict(last <= 2*first, fmt.Sprintf("B6 %s: recovery at %s records ≤ 2 × at one checkpoint interval", kind, count(float64(histories[n-1].n))),
			"%.2f × (%s, %s)", last/first, nanoseconds(last), nanoseconds(first))
	}
	r.verdict(again == 0, "B6 "+kind+": no handler called on finished inputs", "%.0f calls", again)
}

// treeSize is the size of all files below dir.
func treeSize(dir string) (total int64, err error) {
	entries, err := vfs.OS.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			n, err := treeSize(filepath.Join(dir, entry.Name()))
			if err != nil {
				return 0, err
			}
			total += n
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}

const recoveryAbout = `A child process runs a flow with sync=group until all its records are delivered and have receipts, and is killed with SIGKILL. New processes then
go on with that run, one after the other: each is given one more record, is timed until that reaches the sink, and is killed as well. Histories
of different lengths take turns. "maps" is a source, two maps and a sink; "keyed" has a reduction of 1,000 keys, logged and emitted at every
input, in place of the second map. The shortest history is about one checkpoint interval (16 MiB of log). Files include space that is reserved.`
