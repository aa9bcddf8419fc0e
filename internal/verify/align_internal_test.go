package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// items of a text: a letter is a payload, the digit behind it, if there is one, the
// input that it follows from.
func items(text string) (all []item) {
	for word := range strings.FieldsSeq(text) {
		it := item{payload: []byte(word[:1]), cause: -1}
		if len(word) > 1 {
			it.cause = int(word[1] - '0')
			it.causes = word[1:]
		}
		all = append(all, it)
	}
	return all
}

func pairsText(pairs []pair) string {
	var words []string
	for _, p := range pairs {
		side := func(it *item) string {
			if it == nil {
				return "-"
			}
			return string(it.payload) + it.causes
		}
		words = append(words, side(p.was)+":"+side(p.now))
	}
	return strings.Join(words, " ")
}

func TestAlign(t *testing.T) {
	for _, tt := range []struct{ name, was, now, want string }{
		{"nothing", "", "", ""},
		{"the same", "a b c", "a b c", "a:a b:b c:c"},
		{"one changed", "a b c", "a x c", "a:a b:x c:c"},
		{"one more", "a b c", "a b x c", "a:a b:b -:x c:c"},
		{"one more at the beginning", "a b", "x a b", "-:x a:a b:b"},
		{"one more at the end", "a b", "a b x", "a:a b:b -:x"},
		{"one less", "a b c d", "a c d", "a:a b:- c:c d:d"},
		{"twice the same", "a b c", "a a b c", "a:a -:a b:b c:c"},
		{"one changed and one more", "a b c d e", "a x c y d e", "a:a b:x c:c -:y d:d e:e"},
		{"by what they follow from", "a1 b2 c3", "x1 y3", "a1:x1 b2:- c3:y3"},
		{"all of one input", "a0 b0", "x0 y0 z0", "a0:x0 b0:y0 -:z0"},
		{"swapped", "a b", "b a", "-:b a:a b:-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := pairsText(align(items(tt.was), items(tt.now)))
			if got != tt.want && (tt.name != "swapped" || got != "a:- b:b -:a") {
				t.Errorf("align(%q, %q) = %q, want %q", tt.was, tt.now, got, tt.want)
			}
		})
	}
}

// Whatever is aligned: each record is in one pair, in its order, and one insertion
// or removal is one difference.
func TestAlignIsAnAlignment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) []item {
			var all []item
			for i, c := range rapid.SliceOfN(rapid.IntRange(0, 3), 0, 12).Draw(t, name) {
				all = append(all, item{seq: uint64(i + 1), payload: []byte{byte('a' + c)}, cause: i / 2})
			}
			return all
		}
		was, now := draw("was"), draw("now")
		var left, right []*item
		for _, p := range align(was, now) {
			if p.was == nil && p.now == nil {
				t.Fatal("a pair of nothing")
			}
			if p.was != nil {
				left = append(left, p.was)
			}
			if p.now != nil {
				right = append(right, p.now)
			}
		}
		for _, side := range []struct {
			got  []*item
			want []item
		}{{left, was}, {right, now}} {
			if len(side.got) != len(side.want) {
				t.Fatalf("%d records in pairs, want %d", len(side.got), len(side.want))
			}
			for i := range side.want {
				if side.got[i] != &side.want[i] {
					t.Fatalf("record %d is at place %d", side.got[i].seq, i)
				}
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var was []item
		for i := range rapid.IntRange(1, 30).Draw(t, "n") {
			was = append(was, item{payload: fmt.Append(nil, rapid.IntRange(0, 3).Draw(t, "payload")), cause: i})
		}
		at := rapid.IntRange(0, len(was)).Draw(t, "at")
		now := slices.Insert(slices.Clone(was), at, item{payload: []byte("new"), cause: at})
		differences := func(a, b []item) (n int) {
			for _, p := range align(a, b) {
				if p.was == nil || p.now == nil || !p.was.equal(p.now) {
					n++
				}
			}
			return n
		}
		if n, m := differences(was, now), differences(now, was); n != 1 || m != 1 {
			t.Fatalf("one record more is %d differences, one less %d", n, m)
		}
	})
}
