package engine

import "github.com/weirflow/weir/internal/plan"

// Tamper has fn stand between every writer and its readers until undo is called:
// what it returns is what the reader gets, nothing if that is nil.
func Tamper(fn func(edge string, b *plan.Batch) *plan.Batch) (undo func()) {
	tamper = fn
	return func() { tamper = nil }
}
