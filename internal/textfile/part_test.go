package textfile_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

// deliver does what a sink does over its life: each line is written, synced and
// noted. It returns the notes that were recorded before the file system died.
func deliver(fsys vfs.FS, recorded string, lines []string, record func(note string, lines int)) error {
	p, err := textfile.OpenPart(fsys, textfile.File{Path: "dir/out.txt", Run: "RUN"}, recorded)
	if err != nil {
		return err
	}
	defer p.Close()
	for i, line := range lines {
		if _, err := io.WriteString(p, line); err != nil {
			return err
		}
		if err := p.Sync(); err != nil {
			return err
		}
		record(p.Note(), i+1)
	}
	note, err := p.Prepare()
	if err != nil {
		return err
	}
	record(note, len(lines))
	if note, err = p.Finish(); err != nil {
		return err
	}
	record(note, len(lines))
	return nil
}

// Whatever the boundary at which the machine dies, the file comes out the same.
func TestEveryCrashComesOutTheSame(t *testing.T) {
	lines := []string{"one\n", "two\n", "three\n", "four\n"}
	count := vfs.NewFaults(vfs.NewMemory(), nil)
	if err := deliver(count, "", lines, func(string, int) {}); err != nil {
		t.Fatal(err)
	}
	boundaries := 0
	for at := 1; at <= count.Count(); at++ {
		for seed := range uint64(8) {
			mem := vfs.NewMemory()
			var note string
			done := 0
			err := deliver(vfs.NewFaults(mem, vfs.StopAt(at)), "", lines, func(n string, d int) { note, done = n, d })
			if err == nil {
				t.Fatalf("no crash at boundary %d", at)
			}
			boundaries++
			disk := mem.Crash(rand.New(rand.NewPCG(seed, uint64(at))))
			if err := deliver(disk, note, lines[done:], func(string, int) {}); err != nil {
				t.Fatalf("boundary %d, seed %d, note %s: %v", at, seed, note, err)
			}
			got, err := vfs.ReadFile(disk, "dir/out.txt", 1<<20)
			if want := strings.Join(lines, ""); err != nil || string(got) != want {
				t.Fatalf("boundary %d, seed %d: %q, %v, want %q", at, seed, got, err, want)
			}
		}
	}
	t.Logf("%d crashes", boundaries)
}

func TestChangedPartsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(vfs.FS) error
		want   string
	}{
		{"gone", func(f vfs.FS) error { return f.Remove("dir/out.txt.RUN.part") }, "is gone"},
		{"short", func(f vfs.FS) error { return overwrite(f, "o") }, "of which 8 were delivered"},
		{"other bytes", func(f vfs.FS) error { return overwrite(f, "ONE\ntwo\n") }, "changed by someone else"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMemory()
			var note string
			p, err := textfile.OpenPart(mem, textfile.File{Path: "dir/out.txt", Run: "RUN"}, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(p, "one\ntwo\n"); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(p.Sync(), p.Close()); err != nil {
				t.Fatal(err)
			}
			note = p.Note()
			if err := c.tamper(mem); err != nil {
				t.Fatal(err)
			}
			_, err = textfile.OpenPart(mem, textfile.File{Path: "dir/out.txt", Run: "RUN"}, note)
			var changed *textfile.ChangedError
			if !errors.As(err, &changed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("OpenPart() = %v, want a ChangedError with %q", err, c.want)
			}
		})
	}
}

func overwrite(f vfs.FS, text string) error {
	file, err := f.OpenFile("dir/out.txt.RUN.part", os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(text), 0)
	return errors.Join(err, file.Truncate(int64(len(text))), file.Close())
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	mem := vfs.NewMemory()
	put := func(recorded, text string) (string, error) {
		p, err := textfile.OpenPart(mem, textfile.File{Path: "log.txt", Run: "RUN", Append: true}, recorded)
		if err != nil {
			return "", err
		}
		_, err = io.WriteString(p, text)
		err = errors.Join(err, p.Sync(), p.Close())
		return p.Note(), err
	}
	if err := vfs.WriteFileAtomic(mem, "log.txt", []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	note, err := put("", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(note, "ours\n"); err != nil { // its receipt is lost
		t.Fatal(err)
	}
	if _, err := put(note, "ours\nmore\n"); err != nil { // so it comes again
		t.Fatal(err)
	}
	got, err := vfs.ReadFile(mem, "log.txt", 1<<20)
	if want := "theirs\nours\nmore\n"; err != nil || string(got) != want {
		t.Errorf("log.txt = %q, %v, want %q", got, err, want)
	}
	var changed *textfile.ChangedError
	if _, err := put(note, "else\n"); !errors.As(err, &changed) {
		t.Errorf("writing over other bytes = %v, want a ChangedError", err)
	}
	got, _ = vfs.ReadFile(mem, "log.txt", 1<<20)
	if want := "theirs\nours\nmore\n"; string(got) != want {
		t.Errorf("log.txt = %q, want it untouched: %q", got, want)
	}
}
