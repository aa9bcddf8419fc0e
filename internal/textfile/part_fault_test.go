package textfile_test

import (
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

// After a failed sync a second one may succeed without writing what the first
// lost, so it must not be what a receipt relies on.
func TestFailedSyncIsNotTriedAgain(t *testing.T) {
	mem := vfs.NewMemory()
	fail := false
	world := vfs.NewFaults(mem, func(op vfs.Op) vfs.Fault {
		if fail && op.Kind == vfs.KindSync {
			fail = false
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	})
	p, err := textfile.OpenPart(world, textfile.File{Path: "out.txt", Run: "RUN"}, "")
	if err != nil {
		t.Fatal(err)
	}
	note := p.Note()
	fail = true
	if _, err := io.WriteString(p, "one\n"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Sync(); err == nil {
			t.Error("Sync after a failed Sync succeeded")
		}
	}
	if _, err := p.Prepare(); err == nil {
		t.Error("Prepare after a failed Sync succeeded")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err = textfile.OpenPart(world, textfile.File{Path: "out.txt", Run: "RUN"}, note); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, "one\n"); err != nil {
		t.Fatal(err)
	}
	if err := p.Sync(); err != nil {
		t.Errorf("Sync of a Part that was opened again: %v", err)
	}
	disk := mem.Crash(rand.New(rand.NewPCG(1, 1)))
	if got, err := vfs.ReadFile(disk, "out.txt.RUN.part", 100); err != nil || string(got) != "one\n" {
		t.Errorf("the disk holds %q, %v", got, err)
	}
}

// A disk that is full for a while costs nothing and doubles nothing.
func TestFullDiskIsTriedAgain(t *testing.T) {
	full := true
	world := vfs.NewFaults(vfs.NewMemory(), func(op vfs.Op) vfs.Fault {
		if full && op.Kind == vfs.KindWrite {
			return vfs.Fault{Err: syscall.ENOSPC, Bytes: 100}
		}
		return vfs.Fault{}
	})
	p, err := textfile.OpenPart(world, textfile.File{Path: "out.txt", Run: "RUN"}, "")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 1000) + "\n"
	for range 600 { // more than is buffered
		if _, err := io.WriteString(p, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Sync(); !vfs.IsNoSpace(err) {
		t.Errorf("Sync on a full disk: %v", err)
	}
	full = false
	if _, err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(); err != nil {
		t.Fatal(err)
	}
	got, err := vfs.ReadFile(world, "out.txt", 1<<20)
	if err != nil || string(got) != strings.Repeat(line, 600) {
		t.Errorf("the file has %d bytes, want %d (%v)", len(got), 600*len(line), err)
	}
}

// A power cut leaves zeros where appended bytes did not reach the disk.
func TestAppendOverTornBytes(t *testing.T) {
	mem := vfs.NewMemory()
	if err := vfs.WriteFileAtomic(mem, "log.txt", []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := textfile.OpenPart(mem, textfile.File{Path: "log.txt", Run: "RUN", Append: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	note := p.Note()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		torn string
		ok   bool
	}{
		{"\x00\x00\x00", true},
		{"one\n\x00\x00", true},
		{"\x00\x00\x00\ntwo\n", true},
		{"one\x00two\n", true},
		{"other\n", false},
	} {
		if err := vfs.WriteFileAtomic(mem, "log.txt", []byte("old\n"+c.torn), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := textfile.OpenPart(mem, textfile.File{Path: "log.txt", Run: "RUN", Append: true}, note)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(p, "one\ntwo\n"); err != nil {
			t.Fatal(err)
		}
		if err := p.Sync(); (err == nil) != c.ok {
			t.Errorf("behind %q: %v", c.torn, err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		want := "old\none\ntwo\n"
		if !c.ok {
			want = "old\n" + c.torn
		}
		if got, err := vfs.ReadFile(mem, "log.txt", 100); err != nil || string(got) != want {
			t.Errorf("after %q the file holds %q, %v, want %q", c.torn, got, err, want)
		}
	}
}
