package verify

// A pair is a record of one side, or of both.
type pair struct{ was, now *item }

// maxTable bounds the work of aligning: beyond so many comparisons records are
// paired by what they follow from only.
const maxTable = 4 << 20

// align pairs what is recorded with what was computed, so that one record more or
// less is one difference. Equal records are paired by a longest common
// subsequence; between those, records that follow from the same input.
func align(was, now []item) (pairs []pair) {
	head := 0
	for head < len(was) && head < len(now) && was[head].equal(&now[head]) {
		pairs = append(pairs, pair{&was[head], &now[head]})
		head++
	}
	a, b := was[head:], now[head:]
	tail := 0
	for tail < len(a) && tail < len(b) && a[len(a)-1-tail].equal(&b[len(b)-1-tail]) {
		tail++
	}
	pairs = append(pairs, middle(a[:len(a)-tail], b[:len(b)-tail])...)
	for i := tail; i > 0; i-- {
		pairs = append(pairs, pair{&a[len(a)-i], &b[len(b)-i]})
	}
	return pairs
}

func middle(a, b []item) (pairs []pair) {
	if len(a) == 0 || len(b) == 0 || len(a)*len(b) > maxTable {
		return between(a, b)
	}
	// length[i*w+j] is the length of the longest common subsequence of a[i:] and b[j:].
	w := len(b) + 1
	length := make([]int32, (len(a)+1)*w)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i].equal(&b[j]) {
				length[i*w+j] = length[(i+1)*w+j+1] + 1
			} else {
				length[i*w+j] = max(length[(i+1)*w+j], length[i*w+j+1])
			}
		}
	}
	i, j, fromA, fromB := 0, 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i].equal(&b[j]):
			pairs = append(pairs, between(a[fromA:i], b[fromB:j])...)
			pairs = append(pairs, pair{&a[i], &b[j]})
			i, j = i+1, j+1
			fromA, fromB = i, j
		case length[(i+1)*w+j] >= length[i*w+j+1]:
			i++
		default:
			j++
		}
	}
	return append(pairs, between(a[fromA:], b[fromB:])...)
}

// between pairs records of which none are equal, by what they follow from.
func between(a, b []item) (pairs []pair) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].cause < b[0].cause:
			pairs = append(pairs, pair{was: &a[0]})
			a = a[1:]
		case len(a) == 0 || b[0].cause < a[0].cause:
			pairs = append(pairs, pair{now: &b[0]})
			b = b[1:]
		default:
			pairs = append(pairs, pair{&a[0], &b[0]})
			a, b = a[1:], b[1:]
		}
	}
	return pairs
}
