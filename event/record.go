package event

import "time"

// A Record is a payload with what the log knows about it.
type Record[T any] struct {
	Value    T
	Ref      Ref       // unique in the run and the same on every redelivery; of an input that is redriven, the one that it had
	Key      string    // encoded key, empty on a stream without one
	Time     time.Time // event time; the record time if the stream has none
	Recorded time.Time // when the frame was written
}

// Typed is implemented by payloads that name themselves, with a version:
// "order.placed.v1". Value and pointer receivers are both honoured. The method
// is called once, on the zero value, when a flow is built.
type Typed interface{ EventType() string }

// A Validator is a payload that can tell that it is not acceptable. Sources
// call Validate after decoding; an error makes the row a dead letter of kind
// [KindValidation]. Value and pointer receivers are both honoured.
type Validator interface{ Validate() error }

// Bare returns a type name without its version: "order.placed" for
// "order.placed.v2". A version is ".v" and digits at the end; a name without
// one is returned as it is.
func Bare(name string) string {
	i := len(name)
	for i > 0 && '0' <= name[i-1] && name[i-1] <= '9' {
		i--
	}
	if i == len(name) || i < 3 || name[i-2:i] != ".v" {
		return name
	}
	return name[:i-2]
}
