package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/examples/internal/scripts"
	"github.com/weirflow/weir/history"
)

const (
	killRuns = 10
	kills    = 3 // in each run
	atOnce   = 5
)

// TestKill kills flights at random moments after its first delivered rows, and
// starts it again with the same command: nothing is lost, nothing comes twice.
func TestKill(t *testing.T) {
	program, err := exec.LookPath("flights")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	files := want(t, "flights.jsonl", "airports.csv")
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce) // the runs under way
	for i := range killRuns {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c := newCampaign(t, program, rand.New(rand.NewPCG(seed, uint64(i))))
			if err := c.run(files); err != nil {
				t.Errorf("seed %d, run %d in %s: %v", seed, i, c.dir, err)
			}
		})
	}
	all.Wait()
}

// TestKillNoticesNoRecovery does the same with a program that ignores what is in
// the log when it starts: then the files must not come out the same.
func TestKillNoticesNoRecovery(t *testing.T) {
	program := filepath.Join(t.TempDir(), "flights")
	if out, err := exec.Command("go", "build", "-tags", "weir_mutation_norecovery", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	files := want(t, "flights.jsonl", "airports.csv")
	c := newCampaign(t, program, nil)
	if err := errors.Join(c.start().wait(), c.compare(files)); err != nil {
		t.Fatalf("without a kill: %v", err)
	}
	c = newCampaign(t, program, rand.New(rand.NewPCG(1, 1)))
	if err := c.kill(); err != nil {
		t.Fatal(err)
	}
	again := c.start().wait()
	err := c.compare(files)
	if err == nil {
		t.Fatal("the files are the same although the log was ignored")
	}
	t.Logf("noticed: %v; the program ended with: %v", err, again)
}

// A campaign is one run of flights that is killed.
type campaign struct {
	t       *testing.T
	program string
	random  *rand.Rand
	dir     string
}

func newCampaign(t *testing.T, program string, random *rand.Rand) *campaign {
	return &campaign{t: t, program: program, random: random, dir: t.TempDir()}
}

func (c *campaign) out() string { return filepath.Join(c.dir, "out") }

// args is what is typed, each time the same.
func (c *campaign) args(command ...string) []string {
	return append(command, "--data", filepath.Join(c.dir, "data"))
}

// An epoch is one process of a campaign.
type epoch struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	stderr *bytes.Buffer
	err    error
}

func (c *campaign) start() *epoch {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	e := &epoch{cancel: cancel, stderr: &bytes.Buffer{}}
	e.cmd = exec.CommandContext(ctx, c.program,
		append(c.args("run"), "--out", c.out(), "--rate", "4000", "--segment-size", "256KiB", "--checkpoint", "250ms")...)
	e.cmd.Stderr = e.stderr
	e.err = e.cmd.Start()
	return e
}

// wait returns when the process has ended; the error says that it did not end
// with 0.
func (e *epoch) wait() error {
	defer e.cancel()
	if e.err != nil {
		return e.err
	}
	if err := e.cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, e.stderr)
	}
	return nil
}

func (c *campaign) run(files map[string]string) error {
	var known [][]history.Record // of flights, as they were after each kill
	for range kills {
		if err := c.kill(); err != nil {
			return err
		}
		records, err := c.records("flights.out")
		if err != nil {
			return err
		}
		known = append(known, records)
	}
	if err := c.start().wait(); err != nil {
		return err
	}
	errs := []error{c.compare(files), c.shown(), c.receipts()}
	final, err := c.records("flights.out")
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i, before := range known {
		errs = append(errs, c.goesOn(uint64(i+1), before, final))
	}
	if out, err := exec.Command(c.program, c.args("check", "flights")...).CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("check: %w\n%s", err, out))
	}
	return errors.Join(errs...)
}

// kill starts the program and kills it some time after it has delivered a row.
func (c *campaign) kill() error {
	part := filepath.Join(c.out(), "departures.jsonl.*.part")
	size := int64(0)
	if names, _ := filepath.Glob(part); len(names) > 0 {
		info, err := os.Stat(names[0])
		if err != nil {
			return err
		}
		size = info.Size()
	}
	e := c.start()
	if e.err != nil {
		return e.wait()
	}
	ended := make(chan error, 1) // sends once
	grown := make(chan error, 1) // sends once
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	go func() { ended <- e.wait() }()
	go func() { grown <- scripts.AwaitFile(ctx, part, size+1+c.random.Int64N(200<<10)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("it ended before it was killed: %w", err)
	case err := <-grown:
		if err != nil {
			return err
		}
	}
	<-time.After(time.Duration(c.random.Int64N(int64(20 * time.Millisecond)))) // not always at a flush
	if err := e.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := <-ended; err == nil {
		return errors.New("it completed although it was killed")
	}
	return nil
}

func (c *campaign) open() (*history.Run, error) {
	dir, err := history.Find(filepath.Join(c.dir, "data"), "flights")
	if err != nil {
		return nil, err
	}
	return history.Open(dir)
}

func (c *campaign) records(name string) (all []history.Record, err error) {
	r, err := c.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for rec, err := range r.Records(c.t.Context(), name, history.Range{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, rec)
	}
	return all, nil
}

func (c *campaign) compare(files map[string]string) error {
	found, err := readFiles(c.out())
	if err != nil {
		return err
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(found))); diff != "" {
		return fmt.Errorf("files (-want +got):\n%s", diff)
	}
	for name, text := range files {
		if found[name] != text {
			return fmt.Errorf("%s differs from that of a run that was not killed: %d bytes, want %d", name, len(found[name]), len(text))
		}
	}
	return nil
}

// goesOn sees to it that what was recorded when epoch was killed is unchanged,
// and that the epoch after it goes on behind it.
func (c *campaign) goesOn(epoch uint64, before, final []history.Record) error {
	n := len(before)
	if n == 0 || len(final) < n {
		return fmt.Errorf("flights had %d records when epoch %d was killed, and %d at the end", n, epoch, len(final))
	}
	for i := range before {
		if before[i].ID != final[i].ID || !bytes.Equal(before[i].Payload, final[i].Payload) || final[i].Epoch > epoch {
			return fmt.Errorf("flights:%d was %s of epoch %d at the kill, and is %s of epoch %d",
				i+1, before[i].ID, before[i].Epoch, final[i].ID, final[i].Epoch)
		}
	}
	if n < len(final) && final[n].Epoch <= epoch {
		return fmt.Errorf("flights:%d is of epoch %d, which was killed at %d", n+1, final[n].Epoch, n)
	}
	return nil
}

// shown looks at the run as a script would.
func (c *campaign) shown() error {
	out, err := exec.Command(c.program, c.args("show", "flights", "--json")...).Output()
	if err != nil {
		return fmt.Errorf("show: %w", err)
	}
	var s history.Summary
	if err := json.Unmarshal(out, &s); err != nil {
		return fmt.Errorf("show --json: %w", err)
	}
	checkpoints := 0
	for _, st := range s.Stages {
		if st.Checkpoint > 0 {
			checkpoints++
		}
	}
	if len(s.Epochs) != kills+1 || s.Segments < 2 || checkpoints < 3 {
		return fmt.Errorf("%d epochs, %d segments, %d checkpoints, want %d, 2 or more, 3 or more",
			len(s.Epochs), s.Segments, checkpoints, kills+1)
	}
	return nil
}

// receipts sees to it that every input of every sink has one receipt.
func (c *campaign) receipts() error {
	for sink, input := range map[string]string{
		"write_departures": "locate.out", "write_unknown": "locate.unmatched", "write_stats": "rows.out", "print": "ten_worst.out",
	} {
		inputs, err := c.records(input)
		if err != nil {
			return err
		}
		said, err := c.records(sink + ".receipts")
		if err != nil {
			return err
		}
		got := make([]int, len(inputs))
		for _, rec := range said {
			var r struct {
				Status   string
				Journal  string
				From, To uint64
			}
			if json.Unmarshal(rec.Payload, &r) != nil || r.To == 0 { // of the file being put in place
				continue
			}
			if r.Status != "success" || r.Journal != input || r.From < 1 || r.To > uint64(len(got)) {
				return fmt.Errorf("%s: receipt %s of %d inputs of %s", sink, rec.Payload, len(got), input)
			}
			for seq := r.From; seq <= r.To; seq++ {
				got[seq-1]++
			}
		}
		if i := slices.IndexFunc(got, func(n int) bool { return n != 1 }); i >= 0 {
			return fmt.Errorf("%s has %d receipts for %s:%d, want 1", sink, got[i], input, i+1)
		}
	}
	return nil
}
