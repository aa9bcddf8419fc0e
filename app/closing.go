package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inspect"
)

// reasonTimeout is a run's reason when a stop took too long.
const reasonTimeout = "stop_timeout"

// closing says how the run ended and what can be asked about it.
func (p *program) closing(say *voice, sum weir.Summary, err error) {
	name := p.def.Name()
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s · %s in · %s delivered · %s", sum.Status, took(sum.Took), inspect.Count(sum.In), inspect.Count(sum.Out), inspect.Plural(sum.Dead, "dead letter"))
	var run *history.Run
	if sum.Dir != "" {
		if h, err := history.Open(sum.Dir); err == nil {
			run = h
			defer func() { _ = h.Close() }() // it was only read
			if s, err := h.Summary(context.Background()); err == nil {
				fmt.Fprintf(&b, " · %s", inspect.Size(s.Bytes))
			}
		}
	}
	say.line("%s", b.String())
	if sum.InDoubt > 0 {
		say.line("%s in doubt: somebody must decide", inspect.Plural(sum.InDoubt, "input"))
	}
	switch {
	case err != nil && !say.told(err):
		say.line("%v", err)
	case err == nil && sum.Reason == reasonTimeout:
		say.line("stopping took longer than --shutdown-timeout")
	}
	if run == nil {
		return
	}
	hints := [][2]string{{"show " + name, "what happened, stage by stage"}}
	replay := run.Manifest().Baseline != "" // which nobody goes on with, and whose letters are those of the run that it replays
	if s, err := run.Summary(context.Background()); err == nil {
		for _, st := range s.Stages {
			if st.Dead > 0 {
				hints = append(hints, [2]string{"records " + name + " " + st.Name + ".dead", inspect.Plural(st.Dead, "dead letter") + " of " + st.Name})
			}
		}
	}
	if sum.Dead > 0 && !replay {
		hints = append(hints, [2]string{"redrive " + name, "what was given up, to be processed again by mended code"})
	}
	if sum.InDoubt > 0 {
		hints = append(hints, [2]string{"effects " + name, "which calls are in doubt, and what is known of them"})
	}
	if sum.Status != weir.Completed && !replay {
		hints = append(hints, [2]string{"run", "go on with it"}, [2]string{"run --new", "begin again from the start"})
	}
	for _, h := range hints {
		say.line("  %s %-40s %s", program0(), h[0], h[1])
	}
}

// program0 is how people called this program.
func program0() string {
	if len(os.Args) == 0 || strings.Contains(os.Args[0], "go-build") {
		return "go run ."
	}
	return os.Args[0]
}

// dataInFile returns the data directory that weir.toml names, "" if it does not.
func (p *program) dataInFile() (string, error) {
	f, err := readFile("weir.toml", false)
	if err != nil {
		return "", err
	}
	data, _ := f.values["data"].(string)
	return data, nil
}

// inspect runs one of the inspection commands.
func (p *program) inspect(command string, args []string) error {
	dir, err := os.Getwd()
	if err != nil {
		return exitError{exitNoStart, fmt.Errorf("working directory: %w", err)}
	}
	data, err := p.dataInFile()
	if err != nil {
		return exitError{exitUsage, err}
	}
	ctx, end := interrupted()
	defer end()
	code := inspect.Run(ctx, append([]string{command}, args...), inspect.Env{
		Program: program0(), Stdout: p.stdout, Stderr: p.stderr, Getenv: os.Getenv,
		Dir: dir, Data: data, Run: p.def.Name(), Now: time.Now, Width: p.width(),
	})
	if code != 0 {
		return exitError{code: code}
	}
	return nil
}

// unfinishedRun finds the run that name means. done says that it is completed, so
// there is nothing to do, which was said.
func (p *program) unfinishedRun(pl *plan, name string) (id string, done bool, err error) {
	dir, err := history.Find(string(pl.own.Data), name)
	if err != nil {
		return "", false, exitError{exitNoStart, err}
	}
	h, err := history.Open(dir)
	if err != nil {
		return "", false, exitError{exitNoStart, err}
	}
	defer func() { _ = h.Close() }() // it was only read
	m := h.Manifest()
	if m.Flow != p.def.Name() {
		return "", false, exitError{exitNoStart, fmt.Errorf("run %s is of flow %s, this is %s", m.Run, m.Flow, p.def.Name())}
	}
	st, err := h.Status()
	if err != nil {
		return "", false, exitError{exitNoStart, err}
	}
	if st.Finished() {
		fmt.Fprintf(p.stderr, "run %s is completed; there is nothing to go on with\n", m.Run)
		return "", true, nil
	}
	return m.Run, false, nil
}
