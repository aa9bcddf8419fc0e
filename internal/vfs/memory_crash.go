package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Kill ends the process: everything it wrote is still there, durable or not,
// and a Crash of the result may yet lose it. Locks are free. All handles on m
// and m itself return [ErrCrashed] from now on; Kill and Crash may be called
// on m again, and start from the same state.
func (m *Memory) Kill() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return m.clone()
}

// Crash cuts the power and returns what the disk holds: all that was synced,
// and of the rest what rng decides: any subset of the changes of names, for
// every sector any of the contents it had since it was synced, and a size
// between the smallest and the largest the file had since. All handles on m
// and m itself return [ErrCrashed] from now on; Kill and Crash may be called
// on m again, and start from the same state. The same operations and the same
// random numbers give the same disk.
func (m *Memory) Crash(rng *rand.Rand) *Memory {
	after := m.Kill()
	odds := survival(rng)
	for _, c := range after.pending {
		if rng.Float64() < odds {
			c.apply()
		}
	}
	after.pending = nil
	after.root.settle(rng)
	return after
}

// survival draws how likely something in doubt survives. All and nothing are
// drawn often: crashes between which everything or nothing got out are common.
func survival(rng *rand.Rand) float64 {
	return [...]float64{0, 0.5, 1, rng.Float64()}[rng.IntN(4)]
}

// settle decides what the disk holds of a node and of all below it.
func (n *node) settle(rng *rand.Rand) {
	if n.mode.IsDir() {
		n.entries = maps.Clone(n.durable)
		for _, name := range n.sorted() {
			n.entries[name].settle(rng)
		}
		return
	}
	odds := survival(rng)
	size := n.settleSize(rng, odds)
	// Sectors beyond the durable size need room before the size is set.
	disk := resized(n.disk, max(size, int64(len(n.disk))))
	for _, number := range slices.Sorted(maps.Keys(n.dirty)) {
		if rng.Float64() >= odds {
			continue
		}
		versions := n.dirty[number].versions
		newest := len(versions) - 1
		if rng.IntN(2) == 0 {
			newest = rng.IntN(len(versions))
		}
		place(disk, number, versions[newest])
	}
	n.disk = slices.Clone(disk[:size])
	n.data = slices.Clone(n.disk)
	n.sizes = nil
	clear(n.dirty)
}

func (n *node) settleSize(rng *rand.Rand, odds float64) int64 {
	if len(n.sizes) == 0 {
		return int64(len(n.disk))
	}
	if rng.Float64() < odds {
		return int64(len(n.data))
	}
	sizes := append([]int64{int64(len(n.disk))}, n.sizes...)
	switch rng.IntN(4) {
	case 0:
		return sizes[rng.IntN(len(sizes))]
	case 1:
		least, most := slices.Min(sizes), slices.Max(sizes)
		return least + rng.Int64N(most-least+1)
	default:
		return sizes[0]
	}
}

// clone copies the file system with what is pending, without its locks.
func (m *Memory) clone() *Memory {
	c := &cloner{copies: make(map[*node]*node)}
	after := &Memory{
		root:   c.node(m.root),
		inodes: m.inodes,
		clock:  m.clock,
		names:  m.names,
		locked: make(map[*node]bool),
	}
	for _, change := range m.pending {
		change.dir, change.node = c.node(change.dir), c.node(change.node)
		after.pending = append(after.pending, change)
	}
	return after
}

type cloner struct{ copies map[*node]*node }

func (c *cloner) node(n *node) *node {
	if n == nil {
		return nil
	}
	if dup := c.copies[n]; dup != nil {
		return dup
	}
	dup := new(node)
	*dup = *n
	c.copies[n] = dup
	dup.home = c.node(n.home)
	dup.entries, dup.durable = c.names(n.entries), c.names(n.durable)
	dup.data, dup.disk, dup.sizes = slices.Clone(n.data), slices.Clone(n.disk), slices.Clone(n.sizes)
	if n.dirty != nil {
		dup.dirty = make(map[int64]*sector, len(n.dirty))
		for number, s := range n.dirty {
			// Contents are never changed once recorded, so they are shared.
			dup.dirty[number] = &sector{versions: slices.Clone(s.versions), writing: s.writing}
		}
	}
	return dup
}

func (c *cloner) names(entries map[string]*node) map[string]*node {
	if entries == nil {
		return nil
	}
	dup := make(map[string]*node, len(entries))
	for name, n := range entries {
		dup[name] = c.node(n)
	}
	return dup
}
