// Package nearest finds the name that was meant where one was mistyped. It is
// what stands behind every "did you mean" of Weir.
package nearest

// Limit is the longest name that is compared, in bytes; no name of Weir is
// longer. It bounds what a hint costs.
const Limit = 128

// Name returns the name most like s, the first of several; "" if none is close.
// A name is close if it takes at most one edit for every three bytes of s, at
// least one, to make it of s. An edit inserts, removes or replaces a byte, or
// swaps two that stand side by side.
func Name(s string, names []string) string {
	if len(s) > Limit {
		return ""
	}
	best, at := "", 1+max(1, len(s)/3)
	for _, n := range names {
		if len(n) > Limit {
			continue
		}
		if d := distance(s, n); d < at {
			best, at = n, d
		}
	}
	return best
}

// distance is the optimal string alignment distance in bytes: Levenshtein's with
// swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row[j+1] = d
		}
	}
	return row[len(b)]
}
