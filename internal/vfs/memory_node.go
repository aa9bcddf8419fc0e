package vfs

import (
	"io/fs"
	"maps"
	"slices"
	"time"
)

// Sector is how many bytes a disk writes as a whole: after a crash a sector
// holds one of the contents it had, never a mixture.
const Sector = 512

// node is a file or a directory, whatever names it has.
type node struct {
	inode   uint64
	mode    fs.FileMode
	changed time.Time

	watchers []chan struct{} // sent to, without waiting, after a change

	// A file.
	data  []byte            // what processes read
	disk  []byte            // what the last sync made durable
	dirty map[int64]*sector // sectors that may differ on the disk, by number
	sizes []int64           // sizes since the last sync, oldest first

	// A directory.
	entries map[string]*node // what processes see
	durable map[string]*node // what is durable

	// The place of this node among the durable names, and the number of the
	// newest change applied to it: older ones no longer count.
	home     *node
	homeName string
	applied  uint64
}

// sector is the history of a sector since it was last known to be on the disk.
type sector struct {
	versions [][]byte // its contents, oldest first, each at most Sector bytes, the rest zeros
	writing  bool     // the next sync will write the newest; not so after a failed one
}

// nameChange is a change of a directory that is not durable yet: dir gets an
// entry for node, which loses the name it had, or loses the one it has.
type nameChange struct {
	number  uint64
	dir     *node
	name    string
	node    *node
	removed bool
}

// apply makes the change durable.
func (c nameChange) apply() {
	n := c.node
	if c.number < n.applied {
		return
	}
	n.applied = c.number
	if n.home != nil && n.home.durable[n.homeName] == n {
		delete(n.home.durable, n.homeName)
	}
	n.home = nil
	if !c.removed {
		c.dir.durable[c.name] = n
		n.home, n.homeName = c.dir, c.name
	}
}

func (n *node) sorted() []string { return slices.Sorted(maps.Keys(n.entries)) }

func (n *node) note() string { return string(n.data[:min(len(n.data), maxNote)]) }

// write puts p at off and remembers every sector it touches.
func (n *node) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	n.resize(max(end, int64(len(n.data))))
	copy(n.data[off:], p)
	n.record(off, end)
}

// truncate sets the size.
func (n *node) truncate(size int64) {
	old := int64(len(n.data))
	n.resize(size)
	if size < old {
		n.record(size, size) // the sector the new end cuts
		for s := roundUp(size) / Sector; s*Sector < max(old, int64(len(n.disk))); s++ {
			if n.dirty[s] != nil || s*Sector < int64(len(n.disk)) {
				n.add(s, nil)
			}
		}
	}
}

// resize changes the size only; what it adds reads as zeros.
func (n *node) resize(size int64) {
	if size == int64(len(n.data)) {
		return
	}
	n.data = resized(n.data, size)
	n.sizes = append(n.sizes, size)
}

// record adds the present content of the sectors of [from, to) to their histories.
func (n *node) record(from, to int64) {
	first := from / Sector * Sector
	last := min(max(roundUp(to), first), int64(len(n.data)))
	if first >= last {
		return
	}
	content := slices.Clone(n.data[first:last])
	for at := first; at < last; at += Sector {
		n.add(at/Sector, content[at-first:min(at-first+Sector, last-first)])
	}
}

func (n *node) add(number int64, content []byte) {
	s := n.dirty[number]
	if s == nil {
		s = &sector{}
		n.dirty[number] = s
	}
	s.versions = append(s.versions, content)
	s.writing = true
}

// sync makes the size durable and the content of all sectors written since
// the last sync, failed or not.
func (n *node) sync() {
	n.disk = resized(n.disk, int64(len(n.data)))
	for number, s := range n.dirty {
		if s.writing {
			place(n.disk, number, s.versions[len(s.versions)-1])
			delete(n.dirty, number)
		}
	}
	n.sizes = nil
}

// failSync is what the kernel makes of a failed sync: the pages count as
// clean, so that no later sync writes them, and the disk holds any of their
// contents.
func (n *node) failSync() {
	for _, s := range n.dirty {
		s.writing = false
	}
}

// place puts a content into the sector of data, as far as data reaches.
func place(data []byte, number int64, content []byte) {
	at := number * Sector
	if at >= int64(len(data)) {
		return
	}
	sec := data[at:min(at+Sector, int64(len(data)))]
	clear(sec[copy(sec, content):])
}

// resized cuts b or extends it with zeros.
func resized(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func roundUp(off int64) int64 { return (off + Sector - 1) / Sector * Sector }

// fileInfo describes a node as it was when asked.
type fileInfo struct {
	name    string
	size    int64
	mode    fs.FileMode
	changed time.Time
	inode   memoryInode
}

func (n *node) info(name string) fs.FileInfo {
	return fileInfo{name: name, size: int64(len(n.data)), mode: n.mode, changed: n.changed, inode: memoryInode(n.inode)}
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.changed }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return i.inode }
