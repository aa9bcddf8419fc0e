package vfs

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Memory is a file system in memory that keeps two states apart: what the
// processes on the machine see, and what the disk is sure to hold. [Memory.Crash]
// goes from the first to the second by the rules of the package comment, with
// everything in doubt decided at random; it is stricter than any real file
// system, which writes down most changes of names in order.
//
// Names are absolute; a relative name starts at the root, which exists. A
// directory can be renamed only within its parent. Times of change count
// operations, so that a test sees the same ones every time.
type Memory struct {
	mu      sync.Mutex
	root    *node
	inodes  uint64 // the last one given out
	clock   int64  // operations that changed something
	names   uint64 // the last number given to a nameChange
	pending []nameChange
	locked  map[*node]bool
	dead    bool
}

var _ FS = (*Memory)(nil)

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	m := &Memory{locked: make(map[*node]bool)}
	m.root = m.newNode(fs.ModeDir | 0o755)
	return m
}

// memoryInode is what FileInfo.Sys returns for a file of a Memory.
type memoryInode uint64

// Open implements [FS].
func (m *Memory) Open(name string) (File, error) { return m.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile implements [FS].
func (m *Memory) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if flag&os.O_APPEND != 0 {
		return nil, pathError("open", name, syscall.EOPNOTSUPP)
	}
	n, err := m.open(name, flag, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	access := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	return &memoryFile{fs: m, node: n, name: name, reads: access != os.O_WRONLY, writes: access != os.O_RDONLY}, nil
}

func (m *Memory) open(name string, flag int, perm fs.FileMode) (*node, error) {
	if m.dead {
		return nil, ErrCrashed
	}
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[base]
	if base == "" {
		n = dir
	}
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case n == nil:
		n = m.newNode(perm.Perm())
		m.link(dir, base, n)
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, fs.ErrExist
	case n.mode.IsDir() && flag != os.O_RDONLY:
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0 && len(n.data) > 0:
		n.truncate(0)
		m.touch(n)
	}
	return n, nil
}

// Rename implements [FS].
func (m *Memory) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(oldname, newname); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

func (m *Memory) rename(oldname, newname string) error {
	from, n, err := m.find(oldname)
	if err != nil {
		return err
	}
	to, base, err := m.parent(newname)
	if err != nil {
		return err
	}
	old := to.entries[base]
	switch {
	case old == n:
		return nil
	case from == nil || base == "" || n.mode.IsDir() && from != to:
		return fs.ErrInvalid
	case old != nil && old.mode.IsDir():
		return fs.ErrExist
	case old != nil && n.mode.IsDir():
		return syscall.ENOTDIR
	}
	delete(from.entries, filepath.Base(clean(oldname)))
	m.link(to, base, n)
	return nil
}

// Remove implements [FS].
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, n, err := m.find(name)
	switch {
	case err != nil:
	case dir == nil:
		err = fs.ErrInvalid
	case n.mode.IsDir() && len(n.entries) > 0:
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	base := filepath.Base(clean(name))
	delete(dir.entries, base)
	m.change(nameChange{dir: dir, name: base, node: n, removed: true})
	return nil
}

// MkdirAll implements [FS].
func (m *Memory) MkdirAll(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return pathError("mkdir", name, ErrCrashed)
	}
	dir := m.root
	for part := range parts(name) {
		n := dir.entries[part]
		if n == nil {
			n = m.newNode(fs.ModeDir | perm.Perm())
			m.link(dir, part, n)
		}
		if !n.mode.IsDir() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		dir = n
	}
	return nil
}

// ReadDir implements [FS].
func (m *Memory) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, dir, err := m.find(name)
	if err == nil && !dir.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	var list []fs.DirEntry
	for _, base := range dir.sorted() {
		list = append(list, fs.FileInfoToDirEntry(dir.entries[base].info(base)))
	}
	return list, nil
}

// Stat implements [FS].
func (m *Memory) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, n, err := m.find(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return n.info(filepath.Base(clean(name))), nil
}

// SyncDir implements [FS].
func (m *Memory) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, dir, err := m.find(name)
	if err == nil && !dir.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("sync", name, err)
	}
	m.pending = slices.DeleteFunc(m.pending, func(c nameChange) bool {
		if c.dir != dir {
			return false
		}
		c.apply()
		return true
	})
	return nil
}

// Lock implements [FS].
func (m *Memory) Lock(name, note string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	if m.locked[n] {
		return nil, &LockedError{Name: name, Note: n.note()}
	}
	m.locked[n] = true
	n.truncate(0)
	n.write([]byte(note), 0)
	m.touch(n)
	return &memoryLock{fs: m, node: n, name: name}, nil
}

// LockHolder implements [FS].
func (m *Memory) LockHolder(name string) (note string, held bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return "", false, pathError("lock", name, ErrCrashed)
	}
	_, n, err := m.find(name)
	if err != nil || !m.locked[n] {
		return "", false, nil
	}
	return n.note(), true, nil
}

type memoryLock struct {
	fs   *Memory
	node *node
	name string
	done bool
}

// Close takes the note away and releases the lock.
func (l *memoryLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	switch {
	case l.fs.dead:
		return pathError("unlock", l.name, ErrCrashed)
	case l.done:
		return pathError("unlock", l.name, fs.ErrClosed)
	}
	l.done = true
	l.node.truncate(0)
	l.fs.touch(l.node)
	delete(l.fs.locked, l.node)
	return nil
}

func (m *Memory) newNode(mode fs.FileMode) *node {
	m.inodes++
	n := &node{inode: m.inodes, mode: mode}
	if mode.IsDir() {
		n.entries, n.durable = make(map[string]*node), make(map[string]*node)
	} else {
		n.dirty = make(map[int64]*sector)
	}
	m.touch(n)
	return n
}

func (m *Memory) touch(n *node) {
	m.clock++
	n.changed = time.Unix(0, m.clock*int64(time.Microsecond)).UTC()
	for _, w := range n.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// watch tells of changes of a file, or of the names in a directory; see [Watch].
func (m *Memory) watch(name string) *Watcher {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, n, err := m.find(name)
	if err != nil {
		return &Watcher{}
	}
	changed := make(chan struct{}, 1) // one change is as good as many; never closed
	n.watchers = append(n.watchers, changed)
	return &Watcher{changed: changed, close: func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		n.watchers = slices.DeleteFunc(n.watchers, func(w chan struct{}) bool { return w == changed })
		return nil
	}}
}

// link gives n a name as processes see it, and notes what the disk has to learn.
func (m *Memory) link(dir *node, name string, n *node) {
	dir.entries[name] = n
	m.change(nameChange{dir: dir, name: name, node: n})
}

func (m *Memory) change(c nameChange) {
	m.names++
	c.number = m.names
	m.pending = append(m.pending, c)
	m.touch(c.dir)
}

// parent finds the directory of name and the name within it, "" for the root.
func (m *Memory) parent(name string) (dir *node, base string, err error) {
	if m.dead {
		return nil, "", ErrCrashed
	}
	dir = m.root
	for part := range parts(name) {
		if base != "" {
			dir = dir.entries[base]
		}
		if dir == nil {
			return nil, "", fs.ErrNotExist
		}
		if !dir.mode.IsDir() {
			return nil, "", syscall.ENOTDIR
		}
		base = part
	}
	return dir, base, nil
}

// find returns a file and its directory, which is nil for the root.
func (m *Memory) find(name string) (dir, n *node, err error) {
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, nil, err
	}
	if base == "" {
		return nil, dir, nil
	}
	n = dir.entries[base]
	if n == nil {
		return nil, nil, fs.ErrNotExist
	}
	return dir, n, nil
}

func clean(name string) string {
	return filepath.Clean(string(filepath.Separator) + name)
}

// parts yields the elements of a name below the root.
func parts(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(clean(name), string(filepath.Separator)) {
			if part != "" && !yield(part) {
				return
			}
		}
	}
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
