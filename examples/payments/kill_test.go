package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/examples/internal/scripts"
	"github.com/weirflow/weir/history"
)

var kills = flag.Int("kills", 50, "how often TestKill kills payments in all")

const (
	campaigns = 5 // runs among which the kills are divided
	patience  = 700 * time.Millisecond
	token     = "sesame"
	patient   = 5 * time.Minute // on machines that do ten things at once; else it hangs
)

// TestKill kills payments at random moments, and sometimes the payment service, and
// starts them again with the same command; the service misbehaves all the time, and
// for a while it can tell nobody what it did. Its ledger is the judge: no order is
// charged twice, none is lost, and what was not shipped was paid back. Then the runs
// are verified and replayed without the service.
func TestKill(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("payments")
	if err != nil {
		t.Fatal(err)
	}
	gateway, total := compiled(t, "gateway", "./gateway"), *kills
	if testing.Short() {
		total = min(total, 2*campaigns)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var all sync.WaitGroup
	var sum tally
	for i := range campaigns {
		n := (total + i) / campaigns // which adds up
		all.Go(func() {
			c := newCampaign(t, program, gateway, rand.New(rand.NewPCG(seed, uint64(i))))
			defer c.end()
			defer func() { sum.kills.Add(int64(c.kills)) }()
			err := c.run(n, i%2 == 0, &sum)
			if err == nil {
				err = c.again()
			}
			if err != nil {
				t.Errorf("seed %d, run %d in %s: %v", seed, i, c.dir, err)
			}
		})
	}
	all.Wait()
	t.Logf("%d kills of payments, %d of the service, %d orders paid, %d paid back, %d to be looked at, %d in doubt and decided",
		sum.kills.Load(), sum.services.Load(), sum.paid.Load(), sum.back.Load(), sum.review.Load(), sum.decided.Load())
	if sum.paid.Load() < campaigns*400 || sum.back.Load() < campaigns*15 || sum.decided.Load() == 0 {
		t.Error("too few of them: this shows little")
	}
}

// TestKillNoticesNoRecovery does the same with a program that ignores what is in the
// log when it starts: the judge must object.
func TestKillNoticesNoRecovery(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: it builds the program a second time")
	}
	program := compiled(t, "payments", ".", "-tags", "weir_mutation_norecovery")
	c := newCampaign(t, program, compiled(t, "gateway", "./gateway"), rand.New(rand.NewPCG(1, 1)))
	defer c.end()
	err := c.run(2, false, &tally{})
	if err == nil {
		t.Fatal("the judge finds nothing although the log was ignored")
	}
	_, text, ok := strings.Cut(err.Error(), "\norder ")
	if !ok {
		t.Fatalf("the judge finds nothing wrong with orders: %v", err)
	}
	text, _, _ = strings.Cut(text, "\n")
	t.Logf("noticed: order %s …", text)
}

// compiled builds a program of this folder.
func compiled(t *testing.T, name, pkg string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	args := append(append([]string{"build", "-o", path}, flags...), pkg)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// A tally counts what happened in all campaigns.
type tally struct{ kills, services, paid, back, review, decided atomic.Int64 }

// A campaign is one run of payments that is killed.
type campaign struct {
	t        *testing.T
	program  string
	gateway  string
	rng      *rand.Rand
	dir      string
	address  string         // of the service, once it has one
	service  *scripts.Child // that is running
	attached io.Closer      // the service's standard input, at whose end it ends
	starts   int            // of the service

	kills     int  // of payments
	completed bool // the run
}

func newCampaign(t *testing.T, program, gateway string, rng *rand.Rand) *campaign {
	t.Helper()
	host := "127.0.0.1"
	if runtime.GOOS == "linux" { // where nobody else gets the same port while the service is down
		host = fmt.Sprintf("127.%d.%d.%d", 1+rng.IntN(250), rng.IntN(250), 1+rng.IntN(250))
	}
	return &campaign{t: t, program: program, gateway: gateway, rng: rng, dir: t.TempDir(), address: host + ":0"}
}

func (c *campaign) ledger() string { return filepath.Join(c.dir, "ledger.jsonl") }

var listens = regexp.MustCompile(`gateway at http://(\S+),`)

// serve starts the service, with faults.
func (c *campaign) serve(flags ...string) error {
	c.starts++
	cmd := exec.CommandContext(c.t.Context(), c.gateway, append([]string{
		"-listen", c.address, "-ledger", c.ledger(), "-token", token, "-attached", "-seed", strconv.FormatUint(c.rng.Uint64(), 10),
		"-latency", "2ms", "-refuse", ".03", "-throttle", ".02", "-retry-after", "0s", "-fail", ".03", "-break", ".03",
		"-lose", ".04", "-late", ".02", "-late-by", (3 * patience / 2).String(), "-every", "3s", "-outage", "200ms",
	}, flags...)...)
	var err error
	if c.attached, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if c.service, err = scripts.Start(cmd); err != nil {
		return err
	}
	go func() { _ = c.service.Ends() }() // Says is told
	if !c.service.Says(listens) {
		return fmt.Errorf("the service does not start: %s", c.service.Said())
	}
	c.address = listens.FindStringSubmatch(c.service.Said())[1]
	return nil
}

// unserve kills the service.
func (c *campaign) unserve() error {
	err := c.service.Process.Kill()
	c.service.Says(never) // until it has ended
	return err
}

var never = regexp.MustCompile(`\z.`)

func (c *campaign) end() {
	if c.service != nil {
		_ = c.unserve()
	}
}

// command is what is typed, with the rights that payments has.
func (c *campaign) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), c.program, append(args, "--data", filepath.Join(c.dir, "data"))...)
	cmd.Env = append(os.Environ(), "WEIR_PAYMENTS_TOKEN="+token)
	return cmd
}

func (c *campaign) start() (*scripts.Child, error) {
	return scripts.Start(c.command("run", "--gateway", "http://"+c.address, "--out", filepath.Join(c.dir, "out"),
		"--rate", "500", "--patience", patience.String(), "--segment-size", "256KiB", "--checkpoint", "250ms", "--allow-dead"))
}

// run has payments killed n times, and brought to its end. With blind the service
// can tell nothing from then on, so that people must decide; that takes another kill.
func (c *campaign) run(n int, blind bool, sum *tally) error {
	if err := c.serve(); err != nil {
		return err
	}
	for i := range n {
		if err := c.kill(150<<10/int64(n), sum); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
	}
	c.kills = n
	if blind {
		if err := errors.Join(c.unserve(), c.serve("-blind", "-lose", ".02", "-break", ".02", "-fail", ".01", "-late", "0")); err != nil {
			return err
		}
		if err := c.killInDoubt(); err != nil {
			return err
		}
	}
	if !c.completed {
		if err := c.finish(sum); err != nil {
			return err
		}
	}
	j, err := newJudge(c)
	if err != nil {
		return err
	}
	return j.judge(sum)
}

// kill starts payments and kills it when the ledger has grown by up to so many bytes.
func (c *campaign) kill(most int64, sum *tally) error {
	child, err := c.start()
	if err != nil {
		return err
	}
	ended := make(chan error, 1) // sends once
	go func() { ended <- child.Ends() }()
	if !child.Says(begun) {
		return fmt.Errorf("it does not start: %w\n%s", <-ended, child.Said())
	}
	size := int64(0)
	if info, err := os.Stat(c.ledger()); err == nil {
		size = info.Size()
	}
	grows := func(by int64) error {
		ctx, stop := context.WithTimeout(c.t.Context(), patient)
		defer stop()
		grown := make(chan error, 1) // sends once
		go func() { grown <- scripts.AwaitFile(ctx, c.ledger(), size+by) }()
		select {
		case err := <-ended:
			return fmt.Errorf("it ended before it was killed: %w\n%s", err, child.Said())
		case err := <-grown:
			return err
		}
	}
	by := 1 + c.rng.Int64N(most)
	if c.rng.IntN(4) == 0 { // the service dies, too, and comes back
		if err := grows(1 + by/2); err != nil {
			return err
		}
		if err := c.unserve(); err != nil {
			return err
		}
		<-time.After(time.Duration(c.rng.Int64N(int64(100 * time.Millisecond))))
		if err := c.serve(); err != nil {
			return err
		}
		sum.services.Add(1)
	}
	if err := grows(by); err != nil {
		return err
	}
	<-time.After(time.Duration(c.rng.Int64N(int64(20 * time.Millisecond)))) // not always at an entry
	if err := child.Process.Kill(); err != nil {
		return err
	}
	if err := <-ended; err == nil {
		return errors.New("it completed although it was killed")
	}
	return nil
}

// killInDoubt kills payments when nothing is left to be done but what is in doubt. By
// chance nothing may be; then the run completes.
func (c *campaign) killInDoubt() error {
	child, err := c.start()
	if err != nil {
		return err
	}
	late := time.AfterFunc(patient, func() { _ = child.Process.Kill() })
	defer late.Stop()
	ended := make(chan error, 1) // sends once
	go func() { ended <- child.Ends() }()
	if !child.Says(waits) {
		if err := <-ended; err != nil {
			return fmt.Errorf("it does not complete: %w\n%s", err, child.Said())
		}
		c.completed = true
		return nil
	}
	if err := child.Process.Kill(); err != nil {
		return err
	}
	if err := <-ended; err == nil {
		return errors.New("it completed although it was killed")
	}
	c.kills++
	return nil
}

var begun = regexp.MustCompile(`(new|continued) run ·`)

var waits = regexp.MustCompile(`waiting for decisions`)

// finish runs payments to its end, with a person at hand.
func (c *campaign) finish(sum *tally) error {
	child, err := c.start()
	if err != nil {
		return err
	}
	late := time.AfterFunc(patient, func() { _ = child.Process.Kill() })
	defer late.Stop()
	ended := make(chan error, 1) // sends once
	go func() { ended <- child.Ends() }()
	for n := 1; child.SaysTimes(waits, n); n++ {
		if err := c.decide(sum); err != nil {
			return err
		}
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("it does not complete: %w\n%s", err, child.Said())
	}
	return nil
}

// decide looks up what is in doubt in the ledger, and says so.
func (c *campaign) decide(sum *tally) error {
	var out, said bytes.Buffer
	cmd := c.command("effects", "payments", "--json")
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("effects: %w: %s", err, &said)
	}
	entries, err := readLedger(c.ledger())
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(&out); ; {
		var call struct {
			State   string `json:"state"`
			Effect  string `json:"effect"`
			Input   string `json:"input"`
			Request struct {
				Key string `json:"key"`
			} `json:"request"`
		}
		if err := dec.Decode(&call); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if call.State != history.CallInDoubt {
			continue
		}
		if call.Effect != "warehouse.book.v1" || call.Request.Key == "" {
			return fmt.Errorf("in doubt: %+v; want bookings only", call)
		}
		verdict := "--not-done"
		if entries[call.Request.Key]["booking"] > 0 {
			verdict = "--done"
		}
		out, err := c.command("effects", "resolve", "payments", call.Input, verdict, "--by", "the test").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "does not wait for a decision") && !strings.Contains(string(out), "handed in already") {
			return fmt.Errorf("resolve %s: %w\n%s", call.Input, err, out)
		}
		sum.decided.Add(1)
	}
}

// shown looks at the run as a script would, and returns its id.
func (c *campaign) shown() (string, error) {
	out, err := c.command("show", "payments", "--json").Output()
	if err != nil {
		return "", fmt.Errorf("show: %w", err)
	}
	var s history.Summary
	if err := json.Unmarshal(out, &s); err != nil {
		return "", fmt.Errorf("show --json: %w", err)
	}
	if len(s.Epochs) != c.kills+1 {
		return "", fmt.Errorf("%d epochs, want %d", len(s.Epochs), c.kills+1)
	}
	if out, err := c.command("check", "payments").CombinedOutput(); err != nil {
		return "", fmt.Errorf("check: %w\n%s", err, out)
	}
	if out, err := c.command("effects", "payments").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "nothing is open") {
		return "", fmt.Errorf("effects: %w\n%s", err, out)
	}
	return s.Run, nil
}

// again verifies and replays the run without the service
// and without the token. A listener at the service's address notices who calls.
func (c *campaign) again() error {
	run, err := c.shown()
	if err != nil {
		return err
	}
	if err := c.unserve(); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(c.t.Context(), "tcp", c.address)
	if err != nil {
		return err
	}
	called := make(chan struct{}, 1)
	listening := make(chan struct{}) // closed when nobody listens any more
	go func() {
		defer close(listening)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			select {
			case called <- struct{}{}:
			default:
			}
		}
	}()
	defer func() {
		_ = l.Close()
		<-listening
	}()
	alone := func(args ...string) ([]byte, error) {
		cmd := c.command(args...)
		cmd.Env = os.Environ()
		return cmd.CombinedOutput()
	}
	if out, err := alone("verify", run); err != nil || !strings.Contains(string(out), "identical") {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	out, err := alone("replay", run, "--allow-dead")
	if err != nil {
		return fmt.Errorf("replay: %w\n%s", err, out)
	}
	replay := regexp.MustCompile(`new run · flow payments · run (\S+)`).FindSubmatch(out)
	if replay == nil {
		return fmt.Errorf("replay said:\n%s", out)
	}
	for _, port := range []string{"settle.out", "sort.refused", "sort.unclear", "decide.declined", "validate.suspect", "settle.fx"} {
		if err := c.same(port, run, string(replay[1])); err != nil {
			return err
		}
	}
	select {
	case <-called:
		return errors.New("verify or replay called the service")
	default:
	}
	// And had they called, it would have been noticed.
	child, err := scripts.Start(c.command("run", "--new", "--gateway", "http://"+c.address, "--out", filepath.Join(c.dir, "new")))
	if err != nil {
		return err
	}
	ended := make(chan error, 1) // sends once
	go func() { ended <- child.Ends() }()
	select {
	case <-called:
		if err := child.Process.Kill(); err != nil {
			return err
		}
		if err := <-ended; err == nil {
			return errors.New("a new run completed although it was killed")
		}
		return nil
	case err := <-ended:
		return fmt.Errorf("a new run ended and called nobody: %w\n%s", err, child.Said())
	}
}

// same compares what a port holds in two runs.
func (c *campaign) same(port, a, b string) error {
	var texts [2][]string
	for i, id := range []string{a, b} {
		run, err := history.Open(filepath.Join(c.dir, "data", "payments", id))
		if err != nil {
			return err
		}
		for rec, err := range run.Records(c.t.Context(), port, history.Range{}) {
			if err != nil {
				return errors.Join(err, run.Close())
			}
			texts[i] = append(texts[i], string(rec.Payload))
		}
		if err := run.Close(); err != nil {
			return err
		}
	}
	for i := range max(len(texts[0]), len(texts[1])) {
		if i >= len(texts[0]) || i >= len(texts[1]) || texts[0][i] != texts[1][i] {
			return fmt.Errorf("%s has %d records, and %d in the replay; they differ at %d", port, len(texts[0]), len(texts[1]), i+1)
		}
	}
	return nil
}
