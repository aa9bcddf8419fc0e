package topology

import "slices"

// components finds the strongly connected components of a graph given as
// lists of successors, with Tarjan's algorithm (Depth-first search and linear
// graph algorithms, SIAM J. Comput. 1(2), 1972), iteratively, so that depth
// costs no stack. comp[v] is the number of v's component; numbers are in
// reverse topological order.
func components(out [][]int) (comp []int, count int) {
	n := len(out)
	comp = make([]int, n)
	index := make([]int, n) // 0: not visited
	low := make([]int, n)
	onStack := make([]bool, n)
	var stack, path []int
	next := make([]int, n) // which successor of v to look at next
	clock := 0
	visit := func(v int) {
		clock++
		index[v], low[v] = clock, clock
		stack, onStack[v] = append(stack, v), true
		path = append(path, v)
	}
	for root := range n {
		if index[root] != 0 {
			continue
		}
		visit(root)
		for len(path) > 0 {
			v := path[len(path)-1]
			if next[v] < len(out[v]) {
				w := out[v][next[v]]
				next[v]++
				if index[w] == 0 {
					visit(w)
				} else if onStack[w] {
					low[v] = min(low[v], index[w])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				parent := path[len(path)-1]
				low[parent] = min(low[parent], low[v])
			}
			if low[v] == index[v] {
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					onStack[w] = false
					comp[w] = count
					if w == v {
						break
					}
				}
				count++
			}
		}
	}
	return comp, count
}

// link computes adjacency, components and order. Edges that name unknown
// stages are left out; validate reports them.
func (g *Graph) link() {
	n := len(g.stages)
	g.index = make(map[string]int, n)
	for i, s := range g.stages {
		if _, ok := g.index[s.Name]; !ok {
			g.index[s.Name] = i
		}
	}
	g.out, g.in = make([][]int, n), make([][]int, n)
	for _, e := range g.edges {
		from, ok1 := g.index[e.From]
		to, ok2 := g.index[e.To]
		if ok1 && ok2 {
			g.out[from] = append(g.out[from], to)
			g.in[to] = append(g.in[to], from)
		}
	}
	for i := range n {
		slices.Sort(g.out[i])
		slices.Sort(g.in[i])
		g.out[i], g.in[i] = slices.Compact(g.out[i]), slices.Compact(g.in[i])
	}
	comp, count := components(g.out)
	members := make([][]int, count)
	for v := range n {
		members[comp[v]] = append(members[comp[v]], v)
	}
	// Components in topological order, smallest first member among the ready.
	waits := make([]int, count)
	for v := range n {
		for _, w := range g.out[v] {
			if comp[v] != comp[w] {
				waits[comp[w]]++
			}
		}
	}
	var ready []int
	for c := range count {
		if waits[c] == 0 {
			ready = insert(ready, c, members)
		}
	}
	for len(ready) > 0 {
		c := ready[0]
		ready = ready[1:]
		g.comps = append(g.comps, g.within(members[c]))
		for _, v := range members[c] {
			for _, w := range g.out[v] {
				if d := comp[w]; d != c {
					if waits[d]--; waits[d] == 0 {
						ready = insert(ready, d, members)
					}
				}
			}
		}
	}
	for _, c := range g.comps {
		g.order = append(g.order, c...)
	}
}

// insert keeps the ready components sorted by their first member.
func insert(ready []int, c int, members [][]int) []int {
	at, _ := slices.BinarySearchFunc(ready, members[c][0], func(r, first int) int { return members[r][0] - first })
	return slices.Insert(ready, at, c)
}

// within orders the members of one component: repeatedly the smallest stage
// all of whose predecessors inside are placed; when there is none, the
// smallest entry of the cycle, or the smallest stage.
func (g *Graph) within(members []int) []int {
	if len(members) == 1 {
		return members
	}
	waits := make(map[int]int, len(members))
	for _, v := range members {
		waits[v] = 0
	}
	for _, v := range members {
		for _, w := range g.out[v] {
			if _, inside := waits[w]; inside && w != v {
				waits[w]++
			}
		}
	}
	out := make([]int, 0, len(members))
	left := slices.Clone(members)
	for len(left) > 0 {
		at := slices.IndexFunc(left, func(v int) bool { return waits[v] == 0 })
		if at < 0 {
			at = max(0, slices.IndexFunc(left, func(v int) bool { return g.stages[v].Kind == Iterate }))
		}
		v := left[at]
		left = slices.Delete(left, at, at+1)
		out = append(out, v)
		for _, w := range g.out[v] {
			if _, inside := waits[w]; inside && w != v {
				waits[w]--
			}
		}
	}
	return out
}
