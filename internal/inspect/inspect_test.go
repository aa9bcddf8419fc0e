package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/inspect"
	"github.com/weirflow/weir/internal/sample"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"weir":   func() { os.Exit(command()) },
		"record": func() { os.Exit(record()) },
		"damage": func() { os.Exit(damage()) },
		"shop":   func() { os.Exit(shop()) },
		"charge": func() { os.Exit(charge()) },
		"hold":   func() { os.Exit(hold()) },
		"till":   func() { os.Exit(till()) },
	})
}

// command is weir with the terminal's width from the environment.
func command() int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	width, _ := strconv.Atoi(os.Getenv("COLUMNS")) // none means no terminal
	return inspect.Run(context.Background(), os.Args[1:], inspect.Env{
		Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Dir: dir, Width: width, Run: os.Getenv("THE_RUN"),
		Now: func() time.Time { return sample.Created.Add(10 * 24 * time.Hour) },
	})
}

// record writes the sample run: record DATA RUN begun|completed [DAYS LATER].
func record() int {
	if err := write(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// charge writes the sample run that acts on the world: charge DATA RUN [refused].
func charge() int {
	m := sample.ChargesManifest(os.Args[2])
	same := strings.NewReader(strings.Repeat(m.Run, 10))
	log, err := segment.Create(vfs.OS, filepath.Join(os.Args[1], m.Flow, m.Run), m, segment.Options{
		Now: func() time.Time { return m.Created }, Random: same, Enter: segment.Enter{Build: "b1"},
	})
	if err == nil {
		w := sample.New()
		if err = w.Charges(log); err == nil && len(os.Args) > 3 {
			err = w.Refused(log, evidence.Refused{
				ID: "01JZ0000000000000000000REF", Stage: "charge", Input: "orders.out:1@0", Verdict: "retry", By: "bob",
				At: m.Created, Reason: "it does not wait for a decision",
			})
		}
		err = errors.Join(err, log.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// hold has a run as its owner has, and runs weir meanwhile: hold DIR ARGS…
func hold() int {
	lock, err := vfs.OS.Lock(filepath.Join(os.Args[1], "LOCK"), `{"pid":7,"host":"h"}`)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer lock.Close()
	os.Args = os.Args[1:]
	return command()
}

type sale struct {
	Shop  string
	Cents int
}

type total struct {
	Shop  string
	Cents int
}

// shop runs a flow: shop DATA [DIE AFTER SO MANY DELIVERIES].
func shop() int {
	after := 0
	if len(os.Args) > 2 {
		after, _ = strconv.Atoi(os.Args[2]) // none means that it lives
	}
	var sales []sale
	for i := range 12000 {
		sales = append(sales, sale{[]string{"north", "south", "west"}[i%3], i})
	}
	def := weir.Define("shop", func(f *weir.Flow) {
		valid := weir.Map(weir.From(f, "sales", weir.Slice(sales)), "validate", func(s sale) (sale, error) {
			if s.Cents == 7 {
				return s, errors.New("an odd amount")
			}
			return s, nil
		})
		byShop := weir.KeyBy(valid, func(s sale) string { return s.Shop })
		totals := weir.Reduce(byShop, "totals", func(shop string) total { return total{Shop: shop} }, func(t *total, s sale) error {
			t.Cents += s.Cents
			return nil
		})
		weir.Each(totals, "print", func(context.Context, total) error { return nil })
		n := 0
		weir.Each(valid, "ship", func(context.Context, sale) error {
			if n++; n == after {
				os.Exit(9)
			}
			return nil
		})
	})
	_, err := def.Run(context.Background(), weir.Options{Dir: os.Args[1], CheckpointBytes: 64 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// damage changes one byte: damage FILE OFFSET.
func damage() int {
	b, err := os.ReadFile(os.Args[1])
	if err == nil {
		at, _ := strconv.Atoi(os.Args[2])
		b[at] ^= 1
		err = os.WriteFile(os.Args[1], b, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func write(data, run, how string, later []string) error {
	m := sample.Manifest(run)
	if len(later) > 0 {
		days, err := strconv.Atoi(later[0])
		if err != nil {
			return err
		}
		m.Created = m.Created.AddDate(0, 0, days)
	}
	dir := filepath.Join(data, m.Flow, run)
	clock := func() time.Time { return m.Created }
	same := strings.NewReader(strings.Repeat(run, 10)) // epochs have the same ids each time
	w := sample.New()
	log, err := segment.Create(vfs.OS, dir, m, segment.Options{Now: clock, Random: same, Enter: segment.Enter{Build: "b1"}})
	if err != nil {
		return err
	}
	if err := w.Begin(log); err != nil {
		return err
	}
	if err := log.Close(); err != nil || how == "begun" {
		return err
	}
	log, _, err = segment.Open(vfs.OS, dir, segment.Options{Now: clock, Random: same, Enter: segment.Enter{Build: "b2"}})
	if err != nil {
		return err
	}
	if err := w.Finish(log); err != nil {
		return err
	}
	return log.Close()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			// A program built with -race sleeps a second as it ends, each command.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			return nil
		},
	})
}
