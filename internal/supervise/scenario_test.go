package supervise_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/internal/supervise"
)

// Scenario files: blocks of commands, then ----, then what they give.
//
//	pipeline [manual]      begin with a pipeline of src (a source), map and out
//	stage source|join|map  begin with a stage
//	to STATE               step quietly until the state is reached
//	EVENT [key=value …]    step, and step what is due; prints states and actions
//	status                 prints status, intent, failure and barrier
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for i, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				commands, want, _ := strings.Cut(block, "\n----\n")
				commands = strings.TrimSuffix(commands, "\n----")
				got := play(t, commands)
				if i > 0 {
					out.WriteString("\n")
				}
				out.WriteString(commands + "\n----\n" + got)
				if !*update && strings.TrimSpace(want) != strings.TrimSpace(got) {
					t.Errorf("%s:\n%s\n---- got\n%s---- want\n%s", file, commands, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type machine interface {
	step(name string, args map[string]string) string
	to(state string) error
	status() string
}

func play(t *testing.T, commands string) string {
	t.Helper()
	var m machine
	var out strings.Builder
	for line := range strings.SplitSeq(commands, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		args := map[string]string{}
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			args[k] = v
		}
		switch words[0] {
		case "pipeline":
			_, manual := args["manual"]
			p, err := supervise.NewPipeline(supervise.PipelineConfig{
				Stages: []supervise.Member{{Name: "src", Source: true}, {Name: "map"}, {Name: "out"}},
				Gates:  []supervise.Gate{{Name: "src>map", Source: "src"}, {Name: "map>out"}, {Name: "declared", Source: "src", Warn: true}},
				Manual: manual,
			})
			if err != nil {
				t.Fatal(err)
			}
			m = &pipelinePlayer{p}
		case "stage":
			config := supervise.StageConfig{Source: words[1] == "source", Inputs: 2}
			if words[1] == "join" {
				config.Hydrate = []int{0}
			}
			s, err := supervise.NewStage(config)
			if err != nil {
				t.Fatal(err)
			}
			m = &stagePlayer{s}
		case "to":
			if err := m.to(words[1]); err != nil {
				t.Fatal(err)
			}
		case "status":
			out.WriteString(m.status())
		default:
			out.WriteString(m.step(words[0], args))
		}
	}
	return out.String()
}

func eventNamed(name string, among []supervise.Event) (supervise.Event, error) {
	for _, e := range among {
		if e.String() == name {
			return e, nil
		}
	}
	return 0, fmt.Errorf("no event %s", name)
}

func line(prefix string, event, from, to fmt.Stringer, actions []supervise.Action, ignored bool, err error) string {
	text := fmt.Sprintf("%s%v: %v", prefix, event, from)
	switch {
	case err != nil:
		return text + " refused: " + err.Error() + "\n"
	case ignored:
		return text + " ignored\n"
	case from.String() != to.String():
		text += " → " + to.String()
	}
	for _, a := range actions {
		text += " " + a.String()
	}
	return text + "\n"
}

func cause(args map[string]string) error {
	if v, ok := args["err"]; ok {
		return errors.New(v)
	}
	return nil
}

type pipelinePlayer struct{ p *supervise.Pipeline }

func (m *pipelinePlayer) step(name string, args map[string]string) string {
	e, err := eventNamed(name, supervise.PipelineEvents())
	if err != nil {
		return err.Error() + "\n"
	}
	in := supervise.PipelineInput{Event: e, Name: args["name"], Reason: args["reason"], Err: cause(args)}
	if v, ok := args["deadline"]; ok {
		n, _ := strconv.Atoi(v)
		in.Deadline = time.Unix(int64(n), 0)
	}
	if v, ok := args["finished"]; ok {
		in.Finished = strings.Split(v, ",")
	}
	if v, ok := args["passed"]; ok {
		in.Passed = strings.Split(v, ",")
	}
	st := m.p.Step(in)
	out := line("", e, st.From, st.To, st.Actions, st.Ignored, st.Err)
	for due, ok := m.p.Due(); ok; due, ok = m.p.Due() {
		st := m.p.Step(due)
		out += line("  due ", due.Event, st.From, st.To, st.Actions, st.Ignored, st.Err)
	}
	return out
}

func (m *pipelinePlayer) to(state string) error {
	for _, s := range []struct{ until, name, arg string }{
		{"Created", "Materialize", ""},
		{"Materializing", "EpochEntered", ""},
		{"Materializing", "MaterializationComplete", ""},
		{"Materialized", "StageRuns", "map"},
		{"Materialized", "StageRuns", "out"},
		{"Running", "SourceReady", "src"},
		{"Running", "StageRuns", "src"},
		{"Running", "ContractPassed", "src>map"},
		{"Running", "StageCompleted", "src"},
		{"Draining", "StageCompleted", "map"},
		{"Draining", "ContractPassed", "map>out"},
		{"Draining", "StageCompleted", "out"},
	} {
		if s.until == state && m.p.State().String() == state {
			return nil
		}
		m.step(s.name, map[string]string{"name": s.arg})
	}
	if m.p.State().String() != state {
		return fmt.Errorf("the scenario does not reach %s", state)
	}
	return nil
}

func (m *pipelinePlayer) status() string {
	i := m.p.Intent()
	return fmt.Sprintf("status %v; intent %v %q; failure: %v; %v\n", m.p.Status(), i.Mode, i.Reason, m.p.Failure(), m.p.Barrier())
}

type stagePlayer struct{ s *supervise.Stage }

func (m *stagePlayer) step(name string, args map[string]string) string {
	e, err := eventNamed(name, supervise.StageEvents())
	if err != nil {
		return err.Error() + "\n"
	}
	in := supervise.StageInput{Event: e, Err: cause(args)}
	in.Input, _ = strconv.Atoi(args["input"])
	_, in.OpenWork = args["open"]
	for _, k := range []supervise.Ending{supervise.Natural, supervise.Truncated, supervise.Poison} {
		if _, ok := args[k.String()]; ok {
			in.Ending = k
		}
	}
	st := m.s.Step(in)
	out := line("", e, st.From, st.To, st.Actions, st.Ignored, st.Err)
	for due, ok := m.s.Due(); ok; due, ok = m.s.Due() {
		st := m.s.Step(due)
		out += line("  due ", due.Event, st.From, st.To, st.Actions, st.Ignored, st.Err)
	}
	return out
}

func (m *stagePlayer) to(state string) error {
	for _, s := range []struct {
		name string
		args map[string]string
	}{
		{"Init", nil},
		{"Ready", nil},
		{"Start", nil},
		{"EndOfInput", map[string]string{"natural": "", "input": "0"}},
		{"EndOfInput", map[string]string{"natural": "", "input": "1"}},
		{"DrainComplete", nil},
		{"OutputDone", nil},
	} {
		if m.s.State().String() == state {
			return nil
		}
		m.step(s.name, s.args)
	}
	if m.s.State().String() != state {
		return fmt.Errorf("the scenario does not reach %s", state)
	}
	return nil
}

func (m *stagePlayer) status() string {
	return fmt.Sprintf("status %v; ending %v; failure: %v\n", m.s.Status(), m.s.Ending(), m.s.Failure())
}
