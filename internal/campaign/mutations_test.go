package campaign_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var mutate = flag.Bool("mutate", false, "take things out of Weir, one after the other, and see that tests notice; some minutes")

// A mutation is a line of Weir that is wrong. The tests it names must notice.
type mutation struct {
	name     string // as in docs/mutations.md
	file     string
	old, new string
	pkg, run string
}

var mutations = []mutation{
	{
		"the log is not synced", "journal/segment/syncer.go",
		"if err := at.seg.file.Sync(); err != nil {", "if err := error(nil); err != nil {",
		"./internal/campaign", "TestCrashEverywhere",
	},
	{
		"recovery does not sync what it rewrote", "journal/segment/cut.go",
		"\treturn f.Sync()\n", "\treturn nil\n",
		"./internal/campaign ./journal/segment ./internal/engine", "Crash|Power|Fault|Resume|Model|Conform",
	},
	{
		"a segment's name is not synced", "journal/segment/writer.go",
		"if err := l.fsys.SyncDir(l.logDir()); err != nil {", "if err := error(nil); err != nil {",
		"./internal/campaign", "TestCrashEverywhere",
	},
	{
		"the manifest's name is not synced", "internal/vfs/durable.go",
		"if err := fsys.SyncDir(filepath.Dir(name)); err != nil {", "if err := error(nil); err != nil {",
		"./internal/campaign ./internal/vfs", "TestCrashEverywhere|Atomic|Crash",
	},
	{
		"a file sink does not sync", "internal/textfile/part.go",
		"if err := p.file.Sync(); err != nil {", "if err := error(nil); err != nil {",
		"./internal/campaign", "TestCrashEverywhere",
	},
	{
		"a file sink does not sync its folder", "internal/textfile/part.go",
		"if err := p.fsys.SyncDir(filepath.Dir(p.path)); err != nil {", "if err := error(nil); err != nil {",
		"./internal/campaign ./internal/textfile", "TestCrashEverywhere|TestEveryCrash",
	},
	{
		"a failed sync of a file is tried again", "internal/textfile/part.go",
		"if p.file == nil || p.lost != nil {", "if p.file == nil {",
		"./internal/textfile", ".",
	},
	{
		"a sink's first note waits for its first receipt", "internal/engine/sink.go",
		"if j.hasNote && j.note != \"\" {", "if false {",
		"./internal/campaign", "TestCrashEverywhere",
	},
	{
		"sinks deliver what is not durable", "internal/engine/delivery.go",
		"func (s *stage) durable(lsn, want journal.LSN) bool {\n", "func (s *stage) durable(lsn, want journal.LSN) bool {\n\tif lsn > 0 {\n\t\treturn true\n\t}\n",
		"./internal/campaign", "TestCrashEverywhere",
	},
	{
		"a mark passes over what is not on record", "internal/engine/sink.go",
		"if lost && w.out.marker != nil {", "if false {",
		"./internal/engine", "Refused",
	},
	{
		"what nobody knows of a commit is given up", "internal/engine/sink.go",
		"if r.err != nil && w.out.marker != nil {", "if false {",
		"./internal/engine", "Transaction",
	},
	{
		"whoever opens takes the mark", "connector/postgres/marks.go",
		"where m.epoch < excluded.epoch or m.owner = excluded.owner", "where true",
		"./connector/postgres", "Owner|Copied",
	},
	{
		"a commit without an answer is made again", "connector/postgres/writer.go",
		"\t\tw.unsure = true\n", "",
		"./connector/postgres", "Lost|Late",
	},
	{
		"calls leave before what they follow from is durable", "internal/engine/execution.go",
		"x.refused = x.w.s.run.c.Log.Await(ctx, x.must)", "x.refused = nil",
		"./internal/campaign ./internal/engine", "TestEffectsCrashEverywhere|Slots",
	},
	{
		"a slot is free before its outcome is durable", "internal/engine/round.go",
		"w.settling = append(w.settling, t.must) // the slot is not free before that is durable", "_ = t",
		"./internal/engine", "Slots",
	},
	{
		"a call in a slot does not wait for the outcome before it", "internal/engine/perform.go",
		"t.must = max(t.must, w.settling[0]) // no call in this slot before that is durable", "_ = t",
		"./internal/engine", "Slots",
	},
	{
		"the next of a key does not wait for the one before", "internal/engine/task.go",
		"next.must = max(next.must, t.must)", "_ = t",
		"./internal/engine", "Slots",
	},
	{
		"snapshots hold no open work", "internal/engine/task.go",
		"at.Open = append(at.Open, o)", "_ = o",
		"./internal/campaign ./internal/engine", "TestEffectsCrashEverywhere|OpenWork",
	},
	{
		"open work forgets what was recorded", "internal/engine/round.go",
		"s.t.Open = append(s.t.Open, journal.OpenWork{Op: journal.OpenUpdate, ID: m.t.in.ID, Data: w.ink[at:]})", "_ = at",
		"./internal/campaign ./internal/engine", "TestEffectsCrashEverywhere|DeathAtEveryTransition",
	},
	{
		"a join that hydrates is not deferred", "internal/engine/transform.go",
		"(s.rules.State() == supervise.StageHydrating && e.spec.Role != plan.TableAtEnd)", "false",
		"./internal/campaign", "TestCrashEverywhere|TestSmallWindows|TestSameJournals",
	},
	{
		"writers do not ask for credit", "internal/engine/outlet.go",
		"return !o.credit.Ask()", "return false",
		"./internal/engine", "Window|Credit|Backpressure|Slow",
	},
	{
		"readers do not compare with the writer", "internal/contract/transport.go",
		"case l.Digest != w.Digest:", "case false:",
		"./internal/contract ./internal/engine", ".",
	},
	{
		"state of a transition is not reverted", "internal/plan/table.go",
		"t.changes[i]\n\t\tt.restore(c)\n", "t.changes[i]\n",
		"./internal/campaign", "TestPanicAfter",
	},
	{
		"state of one input is not undone", "internal/plan/table.go",
		"if t.now.fresh {\n\t\tt.restore(c)\n", "if t.now.fresh {\n",
		"./internal/campaign", "TestPanicAfter|TestSame",
	},
	{
		"outputs of one input are not undone", "internal/plan/writer.go",
		"\tfor n > 0 && int(w.items[n-1]) == w.turn.Item {\n\t\tn--\n\t}\n", "",
		"./internal/campaign", "TestPanicAfter|TestSame",
	},
}

// Every mutation is in the list for people; with -mutate each is made, and must be
// noticed.
func TestMutationsAreNoticed(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(root, "docs", "mutations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		if !strings.Contains(string(list), "| "+m.name+" |") {
			t.Errorf("docs/mutations.md does not list %q", m.name)
		}
		if *mutate {
			t.Run(m.name, func(t *testing.T) { m.try(t, root) })
		}
	}
}

func (m *mutation) try(t *testing.T, root string) {
	file := filepath.Join(root, m.file)
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(was), m.old); n != 1 {
		t.Fatalf("%s has %d times %q, want it once", m.file, n, m.old)
	}
	dir := t.TempDir()
	mutant, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{mutant: strings.Replace(string(was), m.old, m.new, 1), overlay: string(replace)} { //nolint:maporder // two files
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := append([]string{"test", "-overlay", overlay, "-vet=off", "-count=1", "-timeout=4m", "-run", m.run}, strings.Fields(m.pkg)...)
	if !strings.HasPrefix(m.pkg, "./connector/") {
		args = append(args, "-rapid.nofailfile") // these draw cases; what fails here is not worth a file
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case err == nil:
		t.Errorf("nobody noticed:\n%s", text)
	case strings.Contains(text, "[build failed]"):
		t.Errorf("the mutant does not compile:\n%s", text)
	case !strings.Contains(text, "--- FAIL: ") && !strings.Contains(text, "panic: "):
		t.Errorf("it is not a test that failed:\n%s", text)
	default:
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "--- FAIL: ") || strings.HasPrefix(line, "panic: ") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
