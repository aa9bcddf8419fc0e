package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A benchOfSteps builds and runs steppers.
type benchOfSteps struct {
	e        *env
	all      []*stepper
	postgres *postgres // nil if there is none
}

// newBenchOfSteps builds the peers. What cannot be built, or has no server, is not
// measured and says why.
func newBenchOfSteps(ctx context.Context, e *env, all []*stepper) (*benchOfSteps, error) {
	b := &benchOfSteps{e: e, all: all}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var noServer error
	built := map[string]error{}
	for _, s := range all {
		s.syncs = map[int]float64{}
		if s.build == "" {
			s.binary, s.args = self, append([]string{"child", "steps"}, s.args...)
			continue
		}
		if !e.runs(s.name) {
			continue
		}
		s.binary = filepath.Join(e.dir, s.build)
		if _, ok := built[s.build]; !ok {
			built[s.build] = buildPeer(ctx, s.build, s.binary)
		}
		s.failed = built[s.build]
		if s.failed == nil && s.servers {
			if b.postgres == nil && noServer == nil {
				b.postgres, noServer = newPostgres(ctx)
			}
			s.failed = noServer
		}
	}
	return b, nil
}

func (b *benchOfSteps) close() error {
	if b.postgres == nil {
		return nil
	}
	return b.postgres.stop(context.Background()) // after an interrupt, too
}

// buildPeer builds a program of the module peers.
func buildPeer(ctx context.Context, folder, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./"+folder)
	cmd.Dir = "peers"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build ./%s in bench/peers: %w: %s", folder, err, out)
	}
	return nil
}

// run runs a stepper once, in a fresh directory or database.
func (b *benchOfSteps) run(ctx context.Context, s *stepper, at, inputs int, before ...string) (got stepped, err error) {
	dir, err := b.e.scratch()
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(dir)
	args := slices.Concat(before, []string{s.binary}, s.args, []string{"-dir", dir, "-concurrent", strconv.Itoa(at), "-inputs", strconv.Itoa(inputs)})
	if s.servers {
		dsn, drop, err := b.postgres.database(ctx)
		if err != nil {
			return got, err
		}
		defer func() { err = errors.Join(err, drop()) }()
		args = append(args, "-postgres", dsn)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return got, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(errs.String()))
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil {
		return got, fmt.Errorf("%s printed %q: %w", strings.Join(cmd.Args, " "), out, err)
	}
	return got, nil
}

// lastLines is the end of what a program said.
func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// countSyncs returns how many syncs a step takes, with so many inputs at once: the
// difference of two runs of different length.
func (b *benchOfSteps) countSyncs(ctx context.Context, s *stepper, at int) (float64, error) {
	few := max(s.inputs[at]/10, 10)
	counts := make([]int, 2)
	for i, inputs := range []int{few, 3 * few} {
		var err error
		if counts[i], err = b.syncsOf(ctx, s, at, inputs); err != nil {
			return 0, err
		}
	}
	timed := 2 * few
	warm := timed / 10 // the longer run warms up longer
	return float64(counts[1]-counts[0]) / float64(stepsEach*(timed+warm)), nil
}

// syncsOf counts the syncs of one run: the server's, by its own count, or else the
// process's calls of fsync and fdatasync, by strace.
func (b *benchOfSteps) syncsOf(ctx context.Context, s *stepper, at, inputs int) (int, error) {
	if s.servers {
		before, err := b.postgres.syncs(ctx)
		if err != nil {
			return 0, err
		}
		if _, err := b.run(ctx, s, at, inputs); err != nil {
			return 0, err
		}
		after, err := b.postgres.syncs(ctx)
		return after - before, err
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		return 0, err
	}
	file := filepath.Join(b.e.dir, "strace")
	if _, err := b.run(ctx, s, at, inputs, strace, "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", file); err != nil {
		return 0, err
	}
	return callsIn(file)
}

// callsIn adds up the calls in a summary of strace.
func callsIn(file string) (total int, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 5 && strings.HasSuffix(f[len(f)-1], "sync") {
			n, err := strconv.Atoi(f[3])
			if err != nil {
				return 0, fmt.Errorf("a summary of strace that is not understood: %q", line)
			}
			total += n
		}
	}
	if total == 0 {
		return 0, errors.New("strace saw no sync: " + string(data))
	}
	return total, nil
}
