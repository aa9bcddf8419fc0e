package weir

import (
	"runtime/debug"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/plan"
)

// maxReason bounds the text of an error in the log, in bytes.
const maxReason = 4 << 10

// reason is the text of an error as it can be recorded, without the kind, which
// is recorded beside it.
func reason(kind event.Kind, err error) string {
	text := strings.TrimPrefix(err.Error(), string(kind)+": ")
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

// refused is the Failure of an input whose handler returned err; an error that
// is not marked with a kind takes that of the caller.
func refused(err error, unmarked event.Kind) *plan.Failure {
	kind := event.KindOf(err)
	if kind == event.KindUnknown {
		kind = unmarked
	}
	return &plan.Failure{Err: err, Kind: kind}
}

// panicked is the Failure of an input whose handler panicked with p. It must be
// called by the function that recovered it.
func panicked(p any) *plan.Failure {
	err := &engine.PanicError{Value: p, Stack: debug.Stack()}
	return &plan.Failure{Err: err, Kind: event.KindPanic, Panic: true, Stack: err.Stack}
}
