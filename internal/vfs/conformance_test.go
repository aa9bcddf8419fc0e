package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/vfs"
)

// TestConformance holds every file system, and every wrapper without faults,
// to the contract of FS.
func TestConformance(t *testing.T) {
	systems := map[string]func(t *testing.T) (vfs.FS, string){
		"os": func(t *testing.T) (vfs.FS, string) { return vfs.OS, t.TempDir() },
		"memory": func(t *testing.T) (vfs.FS, string) {
			m := vfs.NewMemory()
			must(t, m.MkdirAll("/data", 0o755))
			return m, "/data"
		},
		"killed memory": func(t *testing.T) (vfs.FS, string) {
			m := vfs.NewMemory()
			must(t, m.MkdirAll("/data", 0o755))
			return m.Kill(), "/data"
		},
		"faults":  func(t *testing.T) (vfs.FS, string) { return vfs.NewFaults(vfs.OS, nil), t.TempDir() },
		"trace":   func(t *testing.T) (vfs.FS, string) { return vfs.NewTrace(vfs.OS), t.TempDir() },
		"wrapped": func(t *testing.T) (vfs.FS, string) { return vfs.NewTrace(vfs.NewFaults(vfs.NewMemory(), nil)), "/" },
	}
	tests := map[string]func(t *testing.T, fsys vfs.FS, dir string){
		"read and write":   testReadWrite,
		"offsets":          testOffsets,
		"open flags":       testOpenFlags,
		"sizes":            testSizes,
		"allocate":         testAllocate,
		"directories":      testDirectories,
		"rename":           testRename,
		"remove":           testRemove,
		"identity":         testIdentity,
		"closed":           testClosed,
		"lock":             testLock,
		"asking for locks": testAskingForLocks,
		"write atomic":     testWriteFileAtomic,
		"read file":        testReadFile,
		"ensure dir":       testEnsureDir,
		"concurrency":      testConcurrency,
	}
	for system, open := range systems {
		t.Run(system, func(t *testing.T) {
			for name, test := range tests {
				t.Run(name, func(t *testing.T) {
					fsys, dir := open(t)
					test(t, fsys, dir)
				})
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func create(t *testing.T, fsys vfs.FS, name, data string) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	_, err = f.WriteAt([]byte(data), 0)
	must(t, err)
	return f
}

func put(t *testing.T, fsys vfs.FS, name, data string) {
	t.Helper()
	must(t, create(t, fsys, name, data).Close())
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	data, err := vfs.ReadFile(fsys, name, 1<<20)
	must(t, err)
	return string(data)
}

func names(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func testReadWrite(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name, "hello")
	if f.Name() != name {
		t.Errorf("Name = %q, want %q", f.Name(), name)
	}
	_, err := f.WriteAt([]byte("WORLD"), 1000)
	must(t, err)
	must(t, f.Sync())
	p := make([]byte, 1010)
	n, err := f.ReadAt(p, 0)
	wantErr(t, "ReadAt over the end", err, io.EOF)
	want := "hello" + strings.Repeat("\x00", 995) + "WORLD"
	if string(p[:n]) != want {
		t.Errorf("content = %q", p[:n])
	}
	if n, err := f.ReadAt(p[:5], 1000); n != 5 || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt up to the end = %d, %v", n, err)
	}
	_, err = f.ReadAt(p, 2000)
	wantErr(t, "ReadAt behind the end", err, io.EOF)
	if _, err = f.ReadAt(p, -1); err == nil {
		t.Error("ReadAt(-1) succeeded")
	}
	if _, err = f.WriteAt(p, -1); err == nil {
		t.Error("WriteAt(-1) succeeded")
	}
	must(t, f.Close())
}

func testOffsets(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "")
	for _, s := range []string{"one ", "two ", "three"} {
		n, err := f.Write([]byte(s))
		if n != len(s) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", s, n, err)
		}
	}
	if off, err := f.Seek(4, io.SeekStart); off != 4 || err != nil {
		t.Fatalf("Seek = %d, %v", off, err)
	}
	_, err := f.WriteAt([]byte("TWO"), 4) // leaves the offset alone
	must(t, err)
	rest, err := io.ReadAll(f)
	if string(rest) != "TWO three" || err != nil {
		t.Errorf("the rest = %q, %v", rest, err)
	}
	if off, err := f.Seek(-5, io.SeekEnd); off != 8 || err != nil {
		t.Errorf("Seek from the end = %d, %v", off, err)
	}
	if off, err := f.Seek(1, io.SeekCurrent); off != 9 || err != nil {
		t.Errorf("Seek from here = %d, %v", off, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek(-1) succeeded")
	}
	must(t, f.Close())
}

func testOpenFlags(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	_, err := fsys.Open(name)
	wantErr(t, "Open of nothing", err, fs.ErrNotExist)
	if err != nil && !strings.Contains(err.Error(), name) {
		t.Errorf("error %q does not name the file", err)
	}
	put(t, fsys, name, "data")
	_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	wantErr(t, "O_EXCL", err, fs.ErrExist)
	_, err = fsys.OpenFile(filepath.Join(dir, "no", "f"), os.O_RDWR|os.O_CREATE, 0o644)
	wantErr(t, "create in no directory", err, fs.ErrNotExist)
	_, err = fsys.Open(filepath.Join(name, "f"))
	wantErr(t, "open below a file", err, syscall.ENOTDIR)
	if _, err = fsys.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		t.Error("O_APPEND was accepted")
	}

	f, err := fsys.Open(name)
	must(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	wantErr(t, "write through Open", err, syscall.EBADF)
	if err := f.Truncate(0); err == nil {
		t.Error("Truncate through Open succeeded")
	}
	must(t, f.Close())

	f, err = fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, "read through O_WRONLY", err, syscall.EBADF)
	if n, err := f.Size(); n != 0 || err != nil {
		t.Errorf("Size after O_TRUNC = %d, %v", n, err)
	}
	must(t, f.Close())

	if d, err := fsys.Open(dir); err == nil {
		_, err = d.Read(make([]byte, 1))
		wantErr(t, "read of a directory", err, syscall.EISDIR)
		must(t, d.Close())
	}
	_, err = fsys.OpenFile(dir, os.O_RDWR, 0)
	wantErr(t, "write to a directory", err, syscall.EISDIR)
}

func testSizes(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name, strings.Repeat("x", 2000))
	must(t, f.Truncate(700))
	must(t, f.Truncate(1500))
	if n, err := f.Size(); n != 1500 || err != nil {
		t.Errorf("Size = %d, %v, want 1500", n, err)
	}
	if want := strings.Repeat("x", 700) + strings.Repeat("\x00", 800); content(t, fsys, name) != want {
		t.Error("a file cut and extended does not read as zeros where it was extended")
	}
	if err := f.Truncate(-1); err == nil {
		t.Error("Truncate(-1) succeeded")
	}
	must(t, f.Close())
	info, err := fsys.Stat(name)
	must(t, err)
	if info.Size() != 1500 || info.Name() != "f" || info.IsDir() || info.Mode().Perm()&0o600 != 0o600 {
		t.Errorf("Stat = %s %d %s", info.Name(), info.Size(), info.Mode())
	}
}

func testAllocate(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name, "head")
	must(t, f.Allocate(0, 3000))
	if got, want := content(t, fsys, name), "head"+strings.Repeat("\x00", 2996); got != want {
		t.Errorf("after Allocate: %d bytes, starting %q", len(got), got[:min(8, len(got))])
	}
	must(t, f.Allocate(0, 10)) // never shortens
	if n, err := f.Size(); n != 3000 || err != nil {
		t.Errorf("Size = %d, %v, want 3000", n, err)
	}
	if f.Allocate(-1, 10) == nil || f.Allocate(0, 0) == nil || f.Allocate(0, -1) == nil {
		t.Error("Allocate accepted an impossible range")
	}
	must(t, f.Close())
}

func testDirectories(t *testing.T, fsys vfs.FS, dir string) {
	deep := filepath.Join(dir, "a", "b", "c")
	must(t, fsys.MkdirAll(deep, 0o755))
	must(t, fsys.MkdirAll(deep, 0o755))
	for _, name := range []string{"z", "m", "a10", "a2"} {
		put(t, fsys, filepath.Join(deep, name), name)
	}
	if diff := cmp.Diff([]string{"a10", "a2", "m", "z"}, names(t, fsys, deep)); diff != "" {
		t.Errorf("ReadDir (-want +got):\n%s", diff)
	}
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 || !entries[0].IsDir() || entries[0].Name() != "a" {
		t.Errorf("ReadDir of the top = %v", entries)
	}
	must(t, fsys.SyncDir(deep))
	wantErr(t, "SyncDir of nothing", fsys.SyncDir(filepath.Join(dir, "no")), fs.ErrNotExist)
	_, err = fsys.ReadDir(filepath.Join(dir, "no"))
	wantErr(t, "ReadDir of nothing", err, fs.ErrNotExist)
	_, err = fsys.ReadDir(filepath.Join(deep, "z"))
	wantErr(t, "ReadDir of a file", err, syscall.ENOTDIR)
	wantErr(t, "MkdirAll over a file", fsys.MkdirAll(filepath.Join(deep, "z", "x"), 0o755), syscall.ENOTDIR)
}

func testRename(t *testing.T, fsys vfs.FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	wantErr(t, "Rename of nothing", fsys.Rename(a, b), fs.ErrNotExist)
	put(t, fsys, a, "A")
	put(t, fsys, b, "B")
	open, err := fsys.Open(b)
	must(t, err)
	must(t, fsys.Rename(a, a))
	must(t, fsys.Rename(a, b))
	if diff := cmp.Diff([]string{"b"}, names(t, fsys, dir)); diff != "" {
		t.Errorf("after Rename (-want +got):\n%s", diff)
	}
	if got := content(t, fsys, b); got != "A" {
		t.Errorf("content = %q, want A", got)
	}
	old, err := io.ReadAll(open)
	if string(old) != "B" || err != nil {
		t.Errorf("the replaced file reads %q, %v through its handle, want B", old, err)
	}
	must(t, open.Close())

	sub := filepath.Join(dir, "sub")
	must(t, fsys.MkdirAll(sub, 0o755))
	must(t, fsys.Rename(b, filepath.Join(sub, "c")))
	if got := content(t, fsys, filepath.Join(sub, "c")); got != "A" {
		t.Errorf("content = %q, want A", got)
	}
	must(t, fsys.Rename(sub, filepath.Join(dir, "moved")))
	if got := content(t, fsys, filepath.Join(dir, "moved", "c")); got != "A" {
		t.Errorf("content = %q, want A", got)
	}
	put(t, fsys, a, "A")
	if err := fsys.Rename(a, filepath.Join(dir, "moved")); err == nil {
		t.Error("a file replaced a directory")
	}
}

func testRemove(t *testing.T, fsys vfs.FS, dir string) {
	sub := filepath.Join(dir, "sub")
	name := filepath.Join(sub, "f")
	must(t, fsys.MkdirAll(sub, 0o755))
	f := create(t, fsys, name, "data")
	wantErr(t, "Remove of a full directory", fsys.Remove(sub), syscall.ENOTEMPTY)
	must(t, fsys.Remove(name))
	wantErr(t, "Remove again", fsys.Remove(name), fs.ErrNotExist)
	p := make([]byte, 4)
	if _, err := f.ReadAt(p, 0); string(p) != "data" || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the removed file reads %q, %v through its handle", p, err)
	}
	must(t, f.Close())
	must(t, fsys.Remove(sub))
	_, err := fsys.Stat(sub)
	wantErr(t, "Stat of a removed directory", err, fs.ErrNotExist)
}

func testIdentity(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	identity := func() vfs.Identity {
		t.Helper()
		info, err := fsys.Stat(name)
		must(t, err)
		id, ok := vfs.IdentityOf(info)
		if !ok {
			t.Fatal("no identity")
		}
		return id
	}
	put(t, fsys, name, "1")
	first := identity()
	if again := identity(); again != first {
		t.Errorf("identity changed from %+v to %+v", first, again)
	}
	f := create(t, fsys, name, "12")
	must(t, f.Close())
	longer := identity()
	if longer == first || !longer.SameFile(first) || longer.Size != 2 {
		t.Errorf("the identity of a longer file: %+v after %+v", longer, first)
	}
	put(t, fsys, name+"2", "12")
	must(t, fsys.Rename(name+"2", name))
	if replaced := identity(); replaced.SameFile(first) {
		t.Errorf("the identity of a replaced file: %+v after %+v", replaced, first)
	}
}

func testClosed(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "data")
	must(t, f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantErr(t, "ReadAt", err, fs.ErrClosed)
	_, err = f.Read(make([]byte, 1))
	wantErr(t, "Read", err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	wantErr(t, "WriteAt", err, fs.ErrClosed)
	_, err = f.Size()
	wantErr(t, "Size", err, fs.ErrClosed)
	wantErr(t, "Sync", f.Sync(), fs.ErrClosed)
	wantErr(t, "Truncate", f.Truncate(0), fs.ErrClosed)
	wantErr(t, "Allocate", f.Allocate(0, 1), fs.ErrClosed)
	wantErr(t, "Close", f.Close(), fs.ErrClosed)
}

func testLock(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "LOCK")
	holder := func(want string, wantHeld bool) {
		t.Helper()
		note, held, err := fsys.LockHolder(name)
		if note != want || held != wantHeld || err != nil {
			t.Errorf("LockHolder = %q, %v, %v, want %q, %v", note, held, err, want, wantHeld)
		}
	}
	holder("", false)
	lock, err := fsys.Lock(name, `{"pid":1,"host":"a-long-name"}`)
	must(t, err)
	holder(`{"pid":1,"host":"a-long-name"}`, true)

	_, err = fsys.Lock(name, `{"pid":2}`)
	wantErr(t, "second Lock", err, vfs.ErrLocked)
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.Note != `{"pid":1,"host":"a-long-name"}` || locked.Name != name {
		t.Errorf("the refusal is %#v", err)
	}
	// Another handle on the file that is closed must not drop the lock.
	other, err := fsys.Open(name)
	must(t, err)
	must(t, other.Close())
	_, err = fsys.Lock(name, "")
	wantErr(t, "Lock after another handle was closed", err, vfs.ErrLocked)

	must(t, lock.Close())
	holder("", false)
	lock, err = fsys.Lock(name, `{"pid":3}`)
	must(t, err)
	holder(`{"pid":3}`, true)
	must(t, lock.Close())
	wantErr(t, "Close again", lock.Close(), fs.ErrClosed)
	_, err = fsys.Lock(filepath.Join(dir, "no", "LOCK"), "")
	wantErr(t, "Lock in no directory", err, fs.ErrNotExist)
}

// testAskingForLocks: whoever asks for the holder must not make a Lock fail.
func testAskingForLocks(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "LOCK")
	put(t, fsys, name, "")
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, err := fsys.LockHolder(name); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 200 {
		lock, err := fsys.Lock(name, "{}")
		if err != nil {
			t.Error(err)
			break
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	asking.Wait()
}

func testWriteFileAtomic(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "manifest.json")
	put(t, fsys, name+".tmp", "what an earlier process left behind")
	for _, data := range []string{"first", "", "second, longer", "3"} {
		must(t, vfs.WriteFileAtomic(fsys, name, []byte(data), 0o644))
		if got := content(t, fsys, name); got != data {
			t.Errorf("content = %q, want %q", got, data)
		}
		if diff := cmp.Diff([]string{"manifest.json"}, names(t, fsys, dir)); diff != "" {
			t.Errorf("directory (-want +got):\n%s", diff)
		}
	}
	err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, "no", "f"), nil, 0o644)
	wantErr(t, "into no directory", err, fs.ErrNotExist)
}

func testReadFile(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	_, err := vfs.ReadFile(fsys, name, 10)
	wantErr(t, "ReadFile of nothing", err, fs.ErrNotExist)
	put(t, fsys, name, "0123456789")
	data, err := vfs.ReadFile(fsys, name, 10)
	if string(data) != "0123456789" || err != nil {
		t.Errorf("ReadFile = %q, %v", data, err)
	}
	_, err = vfs.ReadFile(fsys, name, 9)
	wantErr(t, "ReadFile over its limit", err, vfs.ErrTooLarge)
}

func testEnsureDir(t *testing.T, fsys vfs.FS, dir string) {
	deep := filepath.Join(dir, "x", "y", "z")
	must(t, vfs.EnsureDir(fsys, deep, 0o755))
	must(t, vfs.EnsureDir(fsys, deep+"/", 0o755))
	info, err := fsys.Stat(deep)
	if err != nil || !info.IsDir() {
		t.Fatalf("Stat = %v, %v", info, err)
	}
	put(t, fsys, filepath.Join(deep, "f"), "")
	wantErr(t, "over a file", vfs.EnsureDir(fsys, filepath.Join(deep, "f", "g"), 0o755), syscall.ENOTDIR)
}

func testConcurrency(t *testing.T, fsys vfs.FS, dir string) {
	const workers, each = 4, 30
	f := create(t, fsys, filepath.Join(dir, "shared"), "")
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			own := filepath.Join(dir, string(rune('a'+w)))
			for i := range each {
				at := int64(w*each + i)
				if _, err := f.WriteAt([]byte{byte(at)}, at); err != nil {
					t.Error(err)
				}
				if err := vfs.WriteFileAtomic(fsys, own, []byte{byte(i)}, 0o644); err != nil {
					t.Error(err)
				}
				if _, err := fsys.ReadDir(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var want []byte
	for i := range workers * each {
		want = append(want, byte(i))
	}
	if got := content(t, fsys, filepath.Join(dir, "shared")); !bytes.Equal([]byte(got), want) {
		t.Errorf("shared file = %x, want %x", got, want)
	}
	must(t, f.Close())
}
