package inbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/vfs"
)

var at = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func decision() inbox.Message {
	return inbox.Message{At: at, By: "ann", Decision: &inbox.Decision{
		Stage: "charge", Input: event.RecordID{Journal: "orders.out", Seq: 3}, Step: "pay", Verdict: "done",
		Result: jsontext.Value(`{"charge":"ch_17"}`), Reason: "seen in the bank's list",
	}}
}

func signal(n int) inbox.Message {
	return inbox.Message{At: at.Add(time.Duration(n) * time.Millisecond), Signal: &inbox.Signal{Name: "approve", Key: fmt.Sprint("o-", n), Payload: jsontext.Value("true")}}
}

// A run's directory on a disk in memory.
func disk(t testing.TB) *vfs.Memory {
	t.Helper()
	m := vfs.NewMemory()
	if err := errors.Join(vfs.EnsureDir(m, "/run", 0o700), vfs.WriteFileAtomic(m, "/run/manifest.json", []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return m
}

func put(t testing.TB, fsys vfs.FS, dir string, m inbox.Message) string {
	t.Helper()
	id, err := inbox.Put(fsys, dir, m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func open(t testing.TB, fsys vfs.FS, dir string) *inbox.Box {
	t.Helper()
	b, err := inbox.Open(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func none(string) bool { return false }

// A person's decision is handed in by one process and taken by the run's owner.
func Example() {
	fsys := vfs.NewMemory()
	if err := vfs.EnsureDir(fsys, "/run", 0o700); err != nil {
		log.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(fsys, "/run/manifest.json", []byte("{}"), 0o600); err != nil {
		log.Fatal(err)
	}
	if _, err := inbox.Put(fsys, "/run", inbox.Message{At: at, Signal: &inbox.Signal{Name: "approve", Key: "o-17"}}); err != nil {
		log.Fatal(err)
	}

	box, err := inbox.Open(fsys, "/run")
	if err != nil {
		log.Fatal(err)
	}
	messages, _, _, err := box.Scan(func(string) bool { return false })
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range messages {
		fmt.Println(m.Signal.Name, m.Signal.Key)
		if err := box.Remove(m.ID); err != nil { // once it is recorded
			log.Fatal(err)
		}
	}
	// Output: approve o-17
}

// What is put is scanned, in order, and again until it is removed.
func TestPutScanRemove(t *testing.T) {
	m := disk(t)
	var want []inbox.Message
	for _, msg := range []inbox.Message{decision(), signal(1), signal(2)} {
		msg.ID = put(t, m, "/run", msg)
		want = append(want, msg)
	}
	b := open(t, m, "/run")
	scan := func(skip func(string) bool) []inbox.Message {
		t.Helper()
		got, strays, more, err := b.Scan(skip)
		if err != nil || len(strays) > 0 || more {
			t.Fatalf("Scan = strays %v, more %v, %v", strays, more, err)
		}
		return got
	}
	if diff := cmp.Diff(want, scan(none)); diff != "" {
		t.Errorf("Scan (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], scan(func(id string) bool { return id == want[0].ID })); diff != "" {
		t.Errorf("Scan but for the first (-want +got):\n%s", diff)
	}
	if err := b.Remove(want[0].ID, want[2].ID, want[2].ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[1:2], scan(none)); diff != "" {
		t.Errorf("Scan after Remove (-want +got):\n%s", diff)
	}
}

// A full inbox is read in pieces.
func TestScanIsBounded(t *testing.T) {
	m := disk(t)
	const n = 150
	for i := range n {
		put(t, m, "/run", signal(i))
	}
	b := open(t, m, "/run")
	seen := map[string]bool{}
	var keys []string
	for more := true; more; {
		var messages []inbox.Message
		var err error
		if messages, _, more, err = b.Scan(func(id string) bool { return seen[id] }); err != nil {
			t.Fatal(err)
		}
		if len(messages) > 64 {
			t.Errorf("one scan gives %d messages", len(messages))
		}
		for _, msg := range messages {
			seen[msg.ID] = true
			keys = append(keys, msg.Signal.Key)
		}
	}
	for i := range n {
		if i >= len(keys) || keys[i] != fmt.Sprint("o-", i) {
			t.Fatalf("message %d of %d is not in its place: %v", i, n, keys)
		}
	}
}

// What is no message is reported, not read, and left where it is.
func TestStrays(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("manifest.json", "{}")
	b := open(t, vfs.OS, dir)
	id := put(t, vfs.OS, dir, decision())
	good, err := os.ReadFile(filepath.Join(dir, "inbox", id+".json"))
	if err != nil {
		t.Fatal(err)
	}
	const ulid = "01JZ000000000000000000000"
	strays := map[string]string{ // name to what the report says
		"notes.txt": "its name", ulid + "1.JSON": "its name", "01jz0000000000000000000001.json": "its name",
		ulid + "1.json": "not a message", ulid + "2.json": "are allowed", ulid + "3.json": "not a regular file",
		ulid + "4.json": "not a regular file", ulid + "5.json": "not a regular file", ulid + "6.json": "format is 2",
	}
	write("inbox/notes.txt", "hello")
	write("inbox/"+ulid+"1.JSON", string(good))
	write("inbox/01jz0000000000000000000001.json", string(good))
	write("inbox/"+ulid+"1.json", string(good[:len(good)/2]))
	write("inbox/"+ulid+"2.json", strings.Repeat(" ", inbox.MaxFile+1))
	write("inbox/"+ulid+"6.json", `{"format":2,"kind":"wish"}`)
	write("inbox/"+ulid+"7.json.tmp", "{")
	err = errors.Join(
		os.Mkdir(filepath.Join(dir, "inbox", ulid+"3.json"), 0o700),
		os.Symlink(filepath.Join(dir, "inbox", id+".json"), filepath.Join(dir, "inbox", ulid+"4.json")),
		syscall.Mkfifo(filepath.Join(dir, "inbox", ulid+"5.json"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	before := names(t, filepath.Join(dir, "inbox"))

	told := map[string]bool{}
	for range 2 {
		messages, found, _, err := b.Scan(func(name string) bool { return told[name] })
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) != 1 || messages[0].ID != id {
			t.Errorf("Scan = %v, want the one message %s", messages, id)
		}
		if len(told) > 0 && len(found) > 0 {
			t.Errorf("reported again: %v", found)
		}
		for _, s := range found {
			name := s.Name()
			told[name] = true
			if want, ok := strays[name]; !ok || !strings.Contains(s.Err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, s.Err, want)
			}
		}
	}
	if len(told) != len(strays) {
		t.Errorf("reported %v, want %v", told, strays)
	}
	if err := b.Remove("notes.txt", "../manifest"); err == nil {
		t.Error("Remove takes what is no id")
	}
	if diff := cmp.Diff(before, names(t, filepath.Join(dir, "inbox"))); diff != "" {
		t.Errorf("the directory has changed (-want +got):\n%s", diff)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestPutRefuses(t *testing.T) {
	m := disk(t)
	long := strings.Repeat("x", inbox.MaxText+1)
	for name, change := range map[string]func(*inbox.Message){
		"nothing":            func(m *inbox.Message) { m.Decision = nil },
		"both":               func(m *inbox.Message) { m.Signal = signal(1).Signal },
		"no time":            func(m *inbox.Message) { m.At = time.Time{} },
		"no stage":           func(m *inbox.Message) { m.Decision.Stage = "" },
		"no verdict":         func(m *inbox.Message) { m.Decision.Verdict = "" },
		"control characters": func(m *inbox.Message) { m.Decision.Verdict = "do\nne" },
		"long reason":        func(m *inbox.Message) { m.Decision.Reason = long },
		"long name":          func(m *inbox.Message) { m.By = long },
		"long step":          func(m *inbox.Message) { m.Decision.Step = long },
		"not UTF-8":          func(m *inbox.Message) { m.By = "\xff" },
		"result is not JSON": func(m *inbox.Message) { m.Decision.Result = jsontext.Value("{") },
		"two results":        func(m *inbox.Message) { m.Decision.Result = jsontext.Value("1 2") },
		"a name twice":       func(m *inbox.Message) { m.Decision.Result = jsontext.Value(`{"a":1,"a":2}`) },
		"result is too large": func(m *inbox.Message) {
			m.Decision.Result = jsontext.Value(`"` + strings.Repeat("x", inbox.MaxValue) + `"`)
		},
		"signal without a name": func(m *inbox.Message) { m.Decision, m.Signal = nil, &inbox.Signal{} },
	} {
		msg := decision()
		change(&msg)
		if id, err := inbox.Put(m, "/run", msg); err == nil {
			t.Errorf("%s: Put = %s, want an error", name, id)
		}
	}
	if _, err := inbox.Put(m, "/nothing", decision()); !errors.Is(err, inbox.ErrNoRun) {
		t.Errorf("Put where no run is = %v, want %v", err, inbox.ErrNoRun)
	}
	if _, err := m.Stat("/run/inbox"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put that is refused leaves traces: %v", err)
	}
}

// The power is cut, the process dies and an operation fails at every boundary of
// Put: then there is the whole message or none, and the message if Put said so.
func TestPutEverywhere(t *testing.T) {
	calm := vfs.NewFaults(disk(t), nil)
	put(t, calm, "/run", decision())
	if calm.Count() < 6 {
		t.Fatalf("Put takes %d operations", calm.Count())
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[int]bool{} // how many messages were left after a failure
	for n := 1; n <= calm.Count()+1; n++ {
		for round := range 12 {
			m := disk(t)
			plan := vfs.StopAt(n)
			if round%3 == 2 {
				plan = vfs.FailAt(n, syscall.EIO)
			}
			id, err := inbox.Put(vfs.NewFaults(m, plan), "/run", decision())
			left := m.Crash(rng)
			if round%3 == 1 {
				left = m.Kill()
			}
			messages, strays, _, scanErr := open(t, left, "/run").Scan(none)
			if scanErr != nil || len(strays) > 0 {
				t.Fatalf("stopped at %d: strays %v, %v", n, strays, scanErr)
			}
			want := decision()
			switch {
			case len(messages) > 1, err == nil && len(messages) == 0:
				t.Fatalf("stopped at %d: Put = %v, then there are %d messages", n, err, len(messages))
			case err == nil && messages[0].ID != id:
				t.Fatalf("stopped at %d: Put = %s, then there is %s", n, id, messages[0].ID)
			case len(messages) == 1:
				want.ID = messages[0].ID
				if diff := cmp.Diff(want, messages[0]); diff != "" {
					t.Fatalf("stopped at %d (-want +got):\n%s", n, diff)
				}
			}
			if err != nil {
				seen[len(messages)] = true
			}
		}
	}
	if !seen[0] || !seen[1] {
		t.Errorf("failures left %v messages: the test does not look at both", seen)
	}
}

// A message that was removed does not come back; one whose removal was cut short
// may, whole.
func TestRemoveEverywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	run := func(fsys vfs.FS, ids []string) error {
		b := open(t, fsys, "/run")
		return b.Remove(ids...)
	}
	prepare := func() (*vfs.Memory, []string) {
		m := disk(t)
		return m, []string{put(t, m, "/run", signal(1)), put(t, m, "/run", signal(2)), put(t, m, "/run", signal(3))}
	}
	m, ids := prepare()
	calm := vfs.NewFaults(m, nil)
	if err := run(calm, ids[:2]); err != nil {
		t.Fatal(err)
	}
	opens := calm.Count() - 3 // two removals and one sync
	for n := opens + 1; n <= calm.Count()+1; n++ {
		for range 12 {
			m, ids := prepare()
			err := run(vfs.NewFaults(m, vfs.StopAt(n)), ids[:2])
			messages, strays, _, scanErr := open(t, m.Crash(rng), "/run").Scan(none)
			if scanErr != nil || len(strays) > 0 || len(messages) == 0 || messages[len(messages)-1].ID != ids[2] {
				t.Fatalf("stopped at %d: %v, strays %v, %v", n, messages, strays, scanErr)
			}
			if err == nil && len(messages) != 1 {
				t.Fatalf("stopped at %d: Remove = nil, then there are %d messages", n, len(messages))
			}
		}
	}
}

// A message that another process puts wakes who watches.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, vfs.OS, dir)
	w := b.Watch()
	defer w.Close()
	got := make(chan []inbox.Message, 1)
	go func() {
		for {
			messages, _, _, err := b.Scan(none)
			if err != nil || len(messages) > 0 {
				got <- messages
				return
			}
			if w.Wait(t.Context()) != nil {
				return
			}
		}
	}()
	id := put(t, vfs.OS, dir, decision())
	if messages := <-got; len(messages) != 1 || messages[0].ID != id {
		t.Errorf("woken for %v, want %s", messages, id)
	}
}

// FuzzParse: no content of a file panics, and what is accepted could have been
// put: it is written and read again as the same message.
func FuzzParse(f *testing.F) {
	m := disk(f)
	for _, msg := range []inbox.Message{decision(), signal(1)} {
		id := put(f, m, "/run", msg)
		data, err := vfs.ReadFile(m, "/run/inbox/"+id+".json", inbox.MaxFile)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(bytes.Replace(data, []byte("true"), []byte("null"), 1))
		f.Add(bytes.Replace(data, []byte(`"by"`), []byte(`"By"`), 1))
		f.Add(append(data, data...))
	}
	for _, text := range []string{"", "{}", "null", "[]", `{"format":1}`, `{"format":1,"kind":"signal","at":"2026-03-01T09:00:00Z","name":"x","payload":` + strings.Repeat("[", 20000)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const id = "01JZ0000000000000000000001"
		got, err := inbox.Parse(id, data)
		if err != nil {
			return
		}
		m := disk(t)
		again, err := inbox.Put(m, "/run", got)
		if err != nil {
			t.Fatalf("Parse accepts what Put refuses: %v\n%s", err, data)
		}
		messages, strays, _, err := open(t, m, "/run").Scan(none)
		if err != nil || len(strays) > 0 || len(messages) != 1 {
			t.Fatalf("Scan = %v, %v, %v", messages, strays, err)
		}
		messages[0].ID = got.ID
		if again == "" || !same(messages[0], got) {
			t.Errorf("written and read again:\n%+v\n%+v", got, messages[0])
		}
	})
}

// same compares messages; JSON may have lost its white space.
func same(a, b inbox.Message) bool {
	for _, m := range []*inbox.Message{&a, &b} {
		if m.Decision != nil {
			d := *m.Decision
			d.Result = compact(d.Result)
			m.Decision = &d
		} else {
			s := *m.Signal
			s.Payload = compact(s.Payload)
			m.Signal = &s
		}
	}
	return cmp.Equal(a, b)
}

func compact(v jsontext.Value) jsontext.Value {
	if v != nil {
		v = v.Clone()
		if err := v.Compact(); err != nil {
			return nil
		}
	}
	return v
}
