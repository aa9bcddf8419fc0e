package vfs_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/vfs"
)

// ExampleFaults cuts the power before every operation of a careful program
// and finds either its old or its new manifest.
func ExampleFaults() {
	program := func(fsys vfs.FS) error {
		return vfs.WriteFileAtomic(fsys, "/manifest", []byte("new"), 0o644)
	}
	disk := func() *vfs.Memory {
		m := vfs.NewMemory()
		_ = vfs.WriteFileAtomic(m, "/manifest", []byte("old"), 0o644)
		return m
	}
	calm := vfs.NewFaults(disk(), nil)
	_ = program(calm)
	for n := 1; n <= calm.Count()+1; n++ {
		m := disk()
		err := program(vfs.NewFaults(m, vfs.StopAt(n)))
		data, _ := vfs.ReadFile(m.Crash(rand.New(rand.NewPCG(3, 0))), "/manifest", 100)
		fmt.Printf("%d %s (%v)\n", n, data, err)
	}
	// Output:
	// 1 old (write /manifest: create /manifest.tmp: the file system has crashed)
	// 2 old (write /manifest: write /manifest.tmp: the file system has crashed
	// close /manifest.tmp: the file system has crashed)
	// 3 old (write /manifest: sync /manifest.tmp: the file system has crashed
	// close /manifest.tmp: the file system has crashed)
	// 4 old (write /manifest: rename /manifest.tmp: the file system has crashed)
	// 5 old (write /manifest: syncdir /: the file system has crashed)
	// 6 new (<nil>)
}

// TestWriteFileAtomicEverywhere: power cut, death and error at every operation.
func TestWriteFileAtomicEverywhere(t *testing.T) {
	disk := func() *vfs.Memory {
		m := vfs.NewMemory()
		must(t, vfs.WriteFileAtomic(m, "/f", []byte("old"), 0o644))
		return m
	}
	calm := vfs.NewFaults(disk(), nil)
	must(t, vfs.WriteFileAtomic(calm, "/f", []byte("new"), 0o644))
	if calm.Count() != 5 {
		t.Fatalf("WriteFileAtomic takes %d operations, want create, write, sync, rename, syncdir", calm.Count())
	}
	seen := make(map[string]int)
	for n := 1; n <= calm.Count()+1; n++ {
		for _, plan := range []func(vfs.Op) vfs.Fault{vfs.StopAt(n), vfs.FailAt(n, syscall.EIO), vfs.FailAt(n, syscall.ENOSPC)} {
			for seed := range uint64(20) {
				m := disk()
				err := vfs.WriteFileAtomic(vfs.NewFaults(m, plan), "/f", []byte("new"), 0o644)
				if (err == nil) != (n > calm.Count()) {
					t.Fatalf("fault at %d: error %v", n, err)
				}
				got := content(t, m.Crash(seeded(seed)), "/f")
				seen[got]++
				if got != "new" && (err == nil || got != "old") {
					t.Fatalf("fault at %d, seed %d: content = %q, error %v", n, seed, got, err)
				}
				must(t, vfs.WriteFileAtomic(m.Kill(), "/f", []byte("again"), 0o644))
			}
		}
	}
	if seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("seen %v, want both", seen)
	}
}

// TestEnsureDirEverywhere: a process that dies anywhere in EnsureDir leaves
// nothing that makes a later EnsureDir promise too much.
func TestEnsureDirEverywhere(t *testing.T) {
	calm := vfs.NewFaults(vfs.NewMemory(), nil)
	must(t, vfs.EnsureDir(calm, "/a/b/c", 0o755))
	for n := 1; n <= calm.Count()+1; n++ {
		for seed := range uint64(20) {
			m := vfs.NewMemory()
			err := vfs.EnsureDir(vfs.NewFaults(m, vfs.StopAt(n)), "/a/b/c", 0o755)
			if (err == nil) != (n > calm.Count()) {
				t.Fatalf("stop at %d: error %v", n, err)
			}
			if err != nil {
				m = m.Kill()
				must(t, vfs.EnsureDir(m, "/a/b/c", 0o755))
			}
			if _, err := m.Crash(seeded(seed)).Stat("/a/b/c"); err != nil {
				t.Fatalf("stop at %d, seed %d: %v", n, seed, err)
			}
		}
	}
}

func TestEnsureDirBelowWhatCannotBeSynced(t *testing.T) {
	for _, test := range []struct {
		err  error
		pass bool
	}{{syscall.EACCES, true}, {syscall.EROFS, true}, {syscall.EINVAL, true}, {syscall.EIO, false}, {syscall.ENOSPC, false}} {
		m := vfs.NewMemory()
		must(t, m.MkdirAll("/home/me", 0o755))
		faults := vfs.NewFaults(m, func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.KindSyncDir && op.Name == "/home" {
				return vfs.Fault{Err: test.err}
			}
			return vfs.Fault{}
		})
		if err := vfs.EnsureDir(faults, "/home/me/data", 0o755); (err == nil) != test.pass {
			t.Errorf("with %v on the parent of the parent: %v", test.err, err)
		}
	}
}

func TestFaultKinds(t *testing.T) {
	open := func(m *vfs.Memory, fault vfs.Fault, at int) (*vfs.Faults, vfs.File) {
		faults := vfs.NewFaults(m, func(op vfs.Op) vfs.Fault {
			if op.Number == at {
				return fault
			}
			return vfs.Fault{}
		})
		return faults, create(t, faults, "/f", "0123456789")
	}

	t.Run("short write", func(t *testing.T) {
		m := vfs.NewMemory()
		_, f := open(m, vfs.Fault{Err: syscall.ENOSPC, Bytes: 3}, 3)
		n, err := f.WriteAt([]byte("abcdef"), 2)
		if n != 3 || !vfs.IsNoSpace(err) {
			t.Errorf("WriteAt = %d, %v, want 3 and no space", n, err)
		}
		if got := content(t, m, "/f"); got != "01abc56789" {
			t.Errorf("content = %q", got)
		}
		n, err = f.WriteAt([]byte("abcdef"), 2)
		if n != 6 || err != nil {
			t.Errorf("WriteAt after the fault = %d, %v", n, err)
		}
	})
	t.Run("short sequential write", func(t *testing.T) {
		m := vfs.NewMemory()
		_, f := open(m, vfs.Fault{Err: syscall.EDQUOT, Bytes: 2}, 3)
		n, err := f.Write([]byte("abc"))
		if n != 2 || !vfs.IsNoSpace(err) {
			t.Errorf("Write = %d, %v, want 2 and no space", n, err)
		}
		if off, err := f.Seek(0, io.SeekCurrent); off != 2 || err != nil {
			t.Errorf("offset = %d, %v, want 2", off, err)
		}
	})
	t.Run("torn by a stop", func(t *testing.T) {
		m := vfs.NewMemory()
		faults, f := open(m, vfs.Fault{Stop: true, Bytes: 4}, 3)
		n, err := f.WriteAt([]byte("abcdef"), 0)
		wantErr(t, "WriteAt", err, vfs.ErrCrashed)
		if n != 4 || !faults.Stopped() || faults.Count() != 3 {
			t.Errorf("n = %d, Stopped = %v, Count = %d", n, faults.Stopped(), faults.Count())
		}
		if got := content(t, m, "/f"); got != "abcd456789" {
			t.Errorf("content = %q", got)
		}
		_, err = f.WriteAt([]byte("x"), 0)
		wantErr(t, "WriteAt after the stop", err, vfs.ErrCrashed)
		_, err = f.ReadAt(make([]byte, 1), 0)
		wantErr(t, "ReadAt after the stop", err, vfs.ErrCrashed)
		_, err = faults.Lock("/LOCK", "")
		wantErr(t, "Lock after the stop", err, vfs.ErrCrashed)
		_, err = faults.Stat("/f")
		wantErr(t, "Stat after the stop", err, vfs.ErrCrashed)
		if faults.Count() != 3 {
			t.Errorf("Count = %d after the stop, want 3", faults.Count())
		}
	})
	t.Run("partial allocation", func(t *testing.T) {
		m := vfs.NewMemory()
		_, f := open(m, vfs.Fault{Err: syscall.ENOSPC, Bytes: 100}, 3)
		if err := f.Allocate(0, 5000); !vfs.IsNoSpace(err) {
			t.Errorf("Allocate = %v", err)
		}
		if n, err := f.Size(); n != 100 || err != nil {
			t.Errorf("Size = %d, %v, want 100", n, err)
		}
	})
	t.Run("failed read", func(t *testing.T) {
		m := vfs.NewMemory()
		put(t, m, "/f", "data")
		faults := vfs.NewFaults(m, func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.KindRead {
				return vfs.Fault{Err: syscall.EIO}
			}
			return vfs.Fault{}
		})
		_, err := vfs.ReadFile(faults, "/f", 10)
		wantErr(t, "ReadFile", err, syscall.EIO)
		if faults.Count() != 0 {
			t.Errorf("Count = %d, want 0: reading changes nothing", faults.Count())
		}
	})
	t.Run("stop from outside", func(t *testing.T) {
		faults := vfs.NewFaults(vfs.NewMemory(), nil)
		faults.Stop()
		wantErr(t, "MkdirAll", faults.MkdirAll("/d", 0o755), vfs.ErrCrashed)
	})
	t.Run("failed sync through a trace", func(t *testing.T) {
		m := vfs.NewMemory()
		put(t, m, "/f", "")
		must(t, m.SyncDir("/"))
		faults := vfs.NewFaults(vfs.NewTrace(m), vfs.FailAt(2, syscall.EIO))
		f, err := faults.OpenFile("/f", os.O_RDWR, 0)
		must(t, err)
		_, err = f.Write([]byte("x"))
		must(t, err)
		wantErr(t, "Sync", f.Sync(), syscall.EIO)
		must(t, f.Sync())
		lost := 0
		for seed := range uint64(30) {
			if content(t, m.Crash(seeded(seed)), "/f") != "x" {
				lost++
			}
		}
		if lost == 0 {
			t.Error("a sync after a failed one made the data durable")
		}
	})
}

// TestPlanMayBlock: a plan that waits holds up its own operation and no other.
func TestPlanMayBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{}) // closed below; the plan only receives
		faults := vfs.NewFaults(vfs.NewMemory(), func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.KindSync {
				<-release
			}
			return vfs.Fault{}
		})
		f := create(t, faults, "/f", "data")
		synced := make(chan error, 1) // one result, so that the goroutine never waits
		go func() { synced <- f.Sync() }()
		synctest.Wait()
		if _, err := f.WriteAt([]byte("more"), 4); err != nil {
			t.Errorf("a write during the sync: %v", err)
		}
		select {
		case err := <-synced:
			t.Errorf("Sync returned %v before its plan", err)
		default:
		}
		close(release)
		must(t, <-synced)
	})
}

func TestTrace(t *testing.T) {
	faults := vfs.NewFaults(vfs.NewMemory(), func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.KindRemove {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	})
	work := func(t *testing.T, trace *vfs.Trace) {
		must(t, vfs.EnsureDir(trace, "/data/run", 0o755))
		must(t, vfs.WriteFileAtomic(trace, "/data/run/manifest", []byte("{}"), 0o644))
		f := create(t, trace, "/data/run/log", "frame")
		must(t, f.Allocate(0, 1024))
		_, err := f.WriteAt([]byte("frame"), 5)
		must(t, err)
		must(t, f.Truncate(10))
		must(t, f.Sync())
		wantErr(t, "Remove", trace.Remove("/data/run/log"), syscall.EIO)
		if got := content(t, trace, "/data/run/log"); got != "frameframe" {
			t.Errorf("content = %q", got)
		}
	}
	trace := vfs.NewTrace(faults)
	work(t, trace)
	want := strings.Fields(`mkdir_data syncdir_/ mkdir_run syncdir_data
		create_manifest.tmp write_manifest.tmp_0_2 sync_manifest.tmp rename_manifest.tmp_manifest syncdir_run
		create_log write_log_0_5 allocate_log_0_1024 write_log_5_5 truncate_log_10 sync_log
		remove_log_failed:_input/output_error`)
	var got []string
	for _, line := range trace.Lines() {
		got = append(got, strings.ReplaceAll(line, " ", "_"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	counts := vfs.Counts{Reads: 1, BytesRead: 10, Writes: 3, BytesWritten: 12, Syncs: 2, DirSyncs: 3, Mutations: 16}
	if diff := cmp.Diff(counts, trace.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	trace.Reset()
	if len(trace.Lines()) != 0 || trace.Counts() != (vfs.Counts{}) {
		t.Error("Reset left something")
	}

	meter := vfs.NewMeter(vfs.NewFaults(vfs.NewMemory(), vfs.FailAt(16, syscall.EIO)))
	work(t, meter)
	if diff := cmp.Diff(counts, meter.Counts()); diff != "" {
		t.Errorf("counts of a meter (-want +got):\n%s", diff)
	}
	if len(meter.Lines()) != 0 {
		t.Error("a meter recorded lines")
	}
}
