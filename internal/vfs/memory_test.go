package vfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/vfs"
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func drawRand(t *rapid.T) *rand.Rand { return seeded(rapid.Uint64().Draw(t, "seed")) }

func check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *rapid.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	data, err := vfs.ReadFile(fsys, name, 1<<20)
	check(t, err)
	return data
}

// TestMemoryAgainstMap: as long as no power is cut, Memory is a map from names
// to contents, across deaths of the process and whatever is synced or not.
func TestMemoryAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMemory()
		model := make(map[string][]byte)
		name := rapid.SampledFrom([]string{"/a", "/b", "/c"})
		withFile := func(t *rapid.T, do func(name string, f vfs.File)) {
			n := name.Draw(t, "name")
			f, err := m.OpenFile(n, os.O_RDWR, 0)
			if model[n] == nil {
				if err == nil {
					t.Fatalf("%s opens and should not be there", n)
				}
				return
			}
			check(t, err)
			do(n, f)
			check(t, f.Close())
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				n := name.Draw(t, "name")
				f, err := m.OpenFile(n, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
				check(t, err)
				check(t, f.Close())
				model[n] = []byte{}
			},
			"write": func(t *rapid.T) {
				withFile(t, func(n string, f vfs.File) {
					p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 1500).Draw(t, "len"))
					off := rapid.IntRange(0, 3000).Draw(t, "off")
					_, err := f.WriteAt(p, int64(off))
					check(t, err)
					if len(p) > 0 {
						model[n] = resize(model[n], max(len(model[n]), off+len(p)))
						copy(model[n][off:], p)
					}
				})
			},
			"truncate": func(t *rapid.T) {
				withFile(t, func(n string, f vfs.File) {
					size := rapid.IntRange(0, 3000).Draw(t, "size")
					check(t, f.Truncate(int64(size)))
					model[n] = resize(model[n], size)
				})
			},
			"allocate": func(t *rapid.T) {
				withFile(t, func(n string, f vfs.File) {
					size := rapid.IntRange(1, 3000).Draw(t, "size")
					check(t, f.Allocate(0, int64(size)))
					model[n] = resize(model[n], max(size, len(model[n])))
				})
			},
			"sync":    func(t *rapid.T) { withFile(t, func(_ string, f vfs.File) { check(t, f.Sync()) }) },
			"syncdir": func(t *rapid.T) { check(t, m.SyncDir("/")) },
			"rename": func(t *rapid.T) {
				from, to := name.Draw(t, "from"), name.Draw(t, "to")
				if err := m.Rename(from, to); (err == nil) != (model[from] != nil) {
					t.Fatalf("Rename(%s, %s) = %v", from, to, err)
				}
				if model[from] != nil && from != to {
					model[to] = model[from]
					delete(model, from)
				}
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				if err := m.Remove(n); (err == nil) != (model[n] != nil) {
					t.Fatalf("Remove(%s) = %v", n, err)
				}
				delete(model, n)
			},
			"kill": func(*rapid.T) { m = m.Kill() },
			"sync everything and crash": func(t *rapid.T) {
				for _, n := range slices.Sorted(maps.Keys(model)) {
					f, err := m.OpenFile(n, os.O_RDWR, 0)
					check(t, err)
					// After a failed sync only what is written again counts; here none failed.
					check(t, f.Sync())
				}
				check(t, m.SyncDir("/"))
				m = m.Crash(drawRand(t))
			},
			"": func(t *rapid.T) {
				entries, err := m.ReadDir("/")
				check(t, err)
				if len(entries) != len(model) {
					t.Fatalf("%d files, want %d", len(entries), len(model))
				}
				for _, e := range entries {
					if got := read(t, m, "/"+e.Name()); !bytes.Equal(got, model["/"+e.Name()]) {
						t.Fatalf("%s differs", e.Name())
					}
				}
			},
		})
	})
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(slices.Clip(b), make([]byte, size-len(b))...)
}

// TestCrashOfOneFile: after a crash every sector holds a content it had since
// it was last durable, and one not touched since the durable one.
func TestCrashOfOneFile(t *testing.T) {
	const most = 8 // sectors
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMemory()
		f, err := m.OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o644)
		check(t, err)
		check(t, m.SyncDir("/"))
		var now []byte
		var sizes []int            // since the last sync, with the durable one first
		var allowed [most][][]byte // contents of each sector since it was last durable, the durable one first
		padded := func(s int) []byte {
			whole := resize(slices.Clone(now), most*vfs.Sector)
			return whole[s*vfs.Sector : (s+1)*vfs.Sector]
		}
		durable := func() {
			sizes = []int{len(now)}
			for s := range allowed {
				allowed[s] = [][]byte{padded(s)}
			}
		}
		changed := func() {
			sizes = append(sizes, len(now))
			for s := range allowed {
				if p := padded(s); !bytes.Equal(p, allowed[s][len(allowed[s])-1]) {
					allowed[s] = append(allowed[s], p)
				}
			}
		}
		durable()
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off := rapid.IntRange(0, most*vfs.Sector-1).Draw(t, "off")
				p := bytes.Repeat([]byte{rapid.ByteRange(1, 255).Draw(t, "byte")}, rapid.IntRange(1, most*vfs.Sector-off).Draw(t, "len"))
				_, err := f.WriteAt(p, int64(off))
				check(t, err)
				now = resize(now, max(len(now), off+len(p)))
				copy(now[off:], p)
				changed()
			},
			"truncate": func(t *rapid.T) {
				size := rapid.IntRange(0, most*vfs.Sector).Draw(t, "size")
				check(t, f.Truncate(int64(size)))
				now = resize(now, size)
				changed()
			},
			"sync": func(t *rapid.T) {
				check(t, f.Sync())
				durable()
			},
			"kill": func(t *rapid.T) {
				m = m.Kill()
				if f, err = m.OpenFile("/f", os.O_RDWR, 0); err != nil {
					t.Fatal(err)
				}
			},
			"crash": func(t *rapid.T) {
				m = m.Crash(drawRand(t))
				if f, err = m.OpenFile("/f", os.O_RDWR, 0); err != nil {
					t.Fatal(err)
				}
				got := read(t, m, "/f")
				if len(got) < slices.Min(sizes) || len(got) > slices.Max(sizes) {
					t.Fatalf("%d bytes, want between %d and %d", len(got), slices.Min(sizes), slices.Max(sizes))
				}
				for s := 0; s*vfs.Sector < len(got); s++ {
					sector := got[s*vfs.Sector : min((s+1)*vfs.Sector, len(got))]
					if !slices.ContainsFunc(allowed[s], func(p []byte) bool { return bytes.Equal(p[:len(sector)], sector) }) {
						t.Fatalf("sector %d holds what it never held", s)
					}
				}
				now = got
				durable()
			},
		})
	})
}

// TestCrashOfNames: after a crash each name holds a file that had it since the
// directory was last synced, no file has two names, and a file that was
// durable and neither removed nor replaced has one.
func TestCrashOfNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMemory()
		check(t, m.MkdirAll("/d", 0o755))
		check(t, m.SyncDir("/"))
		now := make(map[string]string) // name to the id of the file that has it
		durable := make(map[string]string)
		candidates := make(map[string][]string) // ids that had a name since the last sync
		var gone []string                       // ids removed or replaced since
		next := 0
		name := rapid.SampledFrom([]string{"/d/a", "/d/b", "/d/c", "/d/e"})
		synced := func() {
			durable, candidates, gone = maps.Clone(now), make(map[string][]string), nil
		}
		give := func(n, id string) {
			if old, ok := now[n]; ok {
				gone = append(gone, old)
			}
			now[n] = id
			candidates[n] = append(candidates[n], id)
		}
		listing := func(t *rapid.T) map[string]string {
			got := make(map[string]string)
			entries, err := m.ReadDir("/d")
			check(t, err)
			for _, e := range entries {
				got["/d/"+e.Name()] = string(read(t, m, "/d/"+e.Name()))
			}
			return got
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				n := name.Draw(t, "name")
				f, err := m.OpenFile(n, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
				if _, ok := now[n]; ok {
					if err == nil {
						t.Fatal("O_EXCL opened a file that exists")
					}
					return
				}
				check(t, err)
				next++
				id := strconv.Itoa(next)
				_, err = f.Write([]byte(id))
				check(t, err)
				check(t, f.Sync())
				check(t, f.Close())
				give(n, id)
			},
			"rename": func(t *rapid.T) {
				from, to := name.Draw(t, "from"), name.Draw(t, "to")
				id, ok := now[from]
				if err := m.Rename(from, to); (err == nil) != ok {
					t.Fatalf("Rename = %v", err)
				}
				if ok && from != to {
					delete(now, from)
					give(to, id)
				}
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				id, ok := now[n]
				if err := m.Remove(n); (err == nil) != ok {
					t.Fatalf("Remove = %v", err)
				}
				if ok {
					delete(now, n)
					gone = append(gone, id)
				}
			},
			"syncdir": func(t *rapid.T) { check(t, m.SyncDir("/d")); synced() },
			"kill": func(t *rapid.T) {
				m = m.Kill()
				if diff := cmp.Diff(now, listing(t)); diff != "" {
					t.Fatalf("after the death of the process (-want +got):\n%s", diff)
				}
			},
			"crash": func(t *rapid.T) {
				m = m.Crash(drawRand(t))
				got := listing(t)
				places := make(map[string]int)
				for n, id := range got {
					places[id]++
					if durable[n] != id && !slices.Contains(candidates[n], id) {
						t.Fatalf("%s is file %s, which never had that name", n, id)
					}
					if places[id] > 1 {
						t.Fatalf("file %s has two names: %v", id, got)
					}
				}
				for n, id := range durable {
					if places[id] == 0 && !slices.Contains(gone, id) && !replaced(durable, candidates, n) {
						t.Fatalf("file %s, durable as %s, has no name: %v", id, n, got)
					}
				}
				if len(candidates) == 0 && len(gone) == 0 {
					if diff := cmp.Diff(durable, got); diff != "" {
						t.Fatalf("synced names (-want +got):\n%s", diff)
					}
				}
				now = got
				synced()
			},
		})
	})
}

// replaced tells whether another file had the durable name n, so that the
// survival of that alone takes the name from its file.
func replaced(durable map[string]string, candidates map[string][]string, n string) bool {
	return slices.ContainsFunc(candidates[n], func(id string) bool { return id != durable[n] })
}

// TestCrashTakesEveryWay: over some seeds each outcome that may happen does.
func TestCrashTakesEveryWay(t *testing.T) {
	disk := vfs.NewMemory()
	f := create(t, disk, "/f", strings.Repeat("o", 2*vfs.Sector))
	must(t, f.Sync())
	put(t, disk, "/tmp", "")
	tmp := create(t, disk, "/tmp", "new")
	must(t, tmp.Sync())
	must(t, disk.SyncDir("/"))
	// In doubt: two sectors in order, a longer file, a rename, a new file, a new directory, a removal.
	put(t, disk, "/gone", "")
	must(t, disk.SyncDir("/"))
	_, err := f.WriteAt(bytes.Repeat([]byte("1"), vfs.Sector), 0)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("2"), vfs.Sector), vfs.Sector)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("3"), vfs.Sector), 0)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("4"), 2*vfs.Sector), 2*vfs.Sector)
	must(t, err)
	must(t, disk.Rename("/tmp", "/name"))
	put(t, disk, "/created", "")
	must(t, disk.MkdirAll("/dir", 0o755))
	must(t, disk.Remove("/gone"))

	seen := make(map[string]int)
	for seed := range uint64(400) {
		m := disk.Crash(seeded(seed))
		got := content(t, m, "/f")
		first, second := got[:1], got[vfs.Sector:vfs.Sector+1]
		seen["sectors "+first+second]++
		switch len(got) {
		case 2 * vfs.Sector:
			seen["old size"]++
		case 4 * vfs.Sector:
			seen["new size"]++
			if got[3*vfs.Sector] == 0 {
				seen["hole"]++
			}
		default:
			seen["size between"]++
		}
		has := names(t, m, "/")
		for _, name := range []string{"tmp", "name", "created", "dir", "gone"} {
			if slices.Contains(has, name) {
				seen["has "+name]++
			} else {
				seen["lost "+name]++
			}
		}
		if slices.Contains(has, "tmp") == slices.Contains(has, "name") {
			t.Fatalf("seed %d: a rename was not atomic: %v", seed, has)
		}
	}
	for _, way := range []string{
		"sectors oo", "sectors 12", "sectors 1o", "sectors o2", "sectors 32", "sectors 3o",
		"old size", "new size", "size between", "hole",
		"has tmp", "has name", "has created", "lost created", "has dir", "lost dir", "has gone", "lost gone",
	} {
		if seen[way] == 0 {
			t.Errorf("never seen: %s", way)
		}
	}
	if len(seen) == 0 || seen["sectors 4o"] != 0 {
		t.Errorf("seen: %v", seen)
	}
}

func TestCrashIsRepeatable(t *testing.T) {
	disk := func(seed uint64) string {
		m := vfs.NewMemory()
		for i := range 20 {
			put(t, m, fmt.Sprintf("/f%d", i), strings.Repeat(strconv.Itoa(i), 1000))
		}
		must(t, m.SyncDir("/"))
		m = m.Crash(seeded(seed))
		var all strings.Builder
		for _, name := range names(t, m, "/") {
			all.WriteString(name + content(t, m, "/"+name))
		}
		return all.String()
	}
	for seed := range uint64(20) {
		if first, again := disk(seed), disk(seed); first != again {
			t.Fatalf("seed %d gave two disks", seed)
		}
	}
	if disk(1) == disk(2) && disk(2) == disk(3) && disk(3) == disk(4) {
		t.Error("four seeds gave the same disk")
	}
}

func TestCrashedHandlesFail(t *testing.T) {
	ends := map[string]func(*vfs.Memory) *vfs.Memory{
		"crash": func(m *vfs.Memory) *vfs.Memory { return m.Crash(seeded(1)) },
		"kill":  (*vfs.Memory).Kill,
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMemory()
			f := create(t, m, "/f", "data")
			must(t, f.Sync())
			lock, err := m.Lock("/LOCK", "first")
			must(t, err)
			must(t, m.SyncDir("/"))
			after := end(m)

			_, err = f.WriteAt([]byte("x"), 0)
			wantErr(t, "WriteAt", err, vfs.ErrCrashed)
			_, err = f.ReadAt(make([]byte, 1), 0)
			wantErr(t, "ReadAt", err, vfs.ErrCrashed)
			wantErr(t, "Sync", f.Sync(), vfs.ErrCrashed)
			wantErr(t, "Close", f.Close(), vfs.ErrCrashed)
			wantErr(t, "unlock", lock.Close(), vfs.ErrCrashed)
			_, err = m.Open("/f")
			wantErr(t, "Open", err, vfs.ErrCrashed)
			_, err = m.OpenFile("/g", os.O_RDWR|os.O_CREATE, 0o644)
			wantErr(t, "create", err, vfs.ErrCrashed)
			wantErr(t, "Rename", m.Rename("/f", "/g"), vfs.ErrCrashed)
			wantErr(t, "Remove", m.Remove("/f"), vfs.ErrCrashed)
			wantErr(t, "MkdirAll", m.MkdirAll("/d", 0o755), vfs.ErrCrashed)
			wantErr(t, "SyncDir", m.SyncDir("/"), vfs.ErrCrashed)
			_, err = m.ReadDir("/")
			wantErr(t, "ReadDir", err, vfs.ErrCrashed)
			_, err = m.Stat("/f")
			wantErr(t, "Stat", err, vfs.ErrCrashed)
			_, err = m.Lock("/LOCK", "")
			wantErr(t, "Lock", err, vfs.ErrCrashed)
			_, _, err = m.LockHolder("/LOCK")
			wantErr(t, "LockHolder", err, vfs.ErrCrashed)

			if got := content(t, after, "/f"); got != "data" {
				t.Errorf("content = %q, want data", got)
			}
			if _, held, err := after.LockHolder("/LOCK"); held || err != nil {
				t.Errorf("LockHolder = %v, %v, want free", held, err)
			}
			lock, err = after.Lock("/LOCK", "second")
			must(t, err)
			must(t, lock.Close())
		})
	}
}

// TestFailedSync: after a failed sync what was written reads well, survives
// the death of the process, and no later sync makes it durable; writing it
// again does.
func TestFailedSync(t *testing.T) {
	lost := func(rewrite bool) (lost int) {
		for seed := range uint64(50) {
			disk := vfs.NewMemory()
			put(t, disk, "/f", "")
			must(t, disk.SyncDir("/"))
			faults := vfs.NewFaults(disk, func(op vfs.Op) vfs.Fault {
				if op.Kind == vfs.KindSync && op.Number == 2 {
					return vfs.Fault{Err: syscall.EIO}
				}
				return vfs.Fault{}
			})
			f, err := faults.OpenFile("/f", os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("payment"), 0)
			must(t, err)
			wantErr(t, "Sync", f.Sync(), syscall.EIO)
			must(t, f.Sync())
			if got := content(t, faults, "/f"); got != "payment" {
				t.Fatalf("content = %q after a failed sync", got)
			}

			disk = disk.Kill()
			f, err = disk.OpenFile("/f", os.O_RDWR, 0)
			must(t, err)
			if got := content(t, disk, "/f"); got != "payment" {
				t.Fatalf("content = %q after the death of the process", got)
			}
			if rewrite {
				_, err = f.WriteAt([]byte("payment"), 0)
				must(t, err)
			}
			must(t, f.Sync())
			if content(t, disk.Crash(seeded(seed)), "/f") != "payment" {
				lost++
			}
		}
		return lost
	}
	if n := lost(false); n == 0 || n == 50 {
		t.Errorf("lost %d of 50 times after a failed sync, want some and not all", n)
	}
	if n := lost(true); n != 0 {
		t.Errorf("lost %d times though written again and synced", n)
	}
}

func TestRenameBetweenDirectories(t *testing.T) {
	places := make(map[string]int)
	for seed := range uint64(60) {
		m := vfs.NewMemory()
		must(t, vfs.EnsureDir(m, "/from", 0o755))
		must(t, vfs.EnsureDir(m, "/to", 0o755))
		f := create(t, m, "/from/f", "data")
		must(t, f.Sync())
		if seed%2 == 0 {
			must(t, m.SyncDir("/from"))
		}
		must(t, m.Rename("/from/f", "/to/f"))
		if seed%3 == 0 {
			must(t, m.SyncDir("/to"))
		}
		m = m.Crash(seeded(seed))
		place := fmt.Sprint(names(t, m, "/from"), names(t, m, "/to"))
		places[place]++
		switch {
		case place == "[f] [f]":
			t.Fatalf("seed %d: two names", seed)
		case place == "[] []" && (seed%2 == 0 || seed%3 == 0):
			t.Fatalf("seed %d: a durable file lost its name", seed)
		case seed%3 == 0 && place != "[] [f]":
			t.Fatalf("seed %d: a synced rename was lost: %s", seed, place)
		}
	}
	for _, place := range []string{"[f] []", "[] [f]", "[] []"} {
		if places[place] == 0 {
			t.Errorf("never seen: %s in %v", place, places)
		}
	}
	m := vfs.NewMemory()
	must(t, m.MkdirAll("/a/b", 0o755))
	wantErr(t, "a directory into another", m.Rename("/a/b", "/c"), fs.ErrInvalid)
}

func TestMemoryRefusesWildSizes(t *testing.T) {
	m := vfs.NewMemory()
	f := create(t, m, "/f", "")
	_, err := f.WriteAt([]byte("x"), 1<<62)
	wantErr(t, "WriteAt", err, syscall.EFBIG)
	wantErr(t, "Truncate", f.Truncate(1<<62), syscall.EFBIG)
	wantErr(t, "Allocate", f.Allocate(1<<62, 1<<62), syscall.EFBIG)
}
