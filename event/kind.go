package event

import "errors"

// A Kind says why something failed.
type Kind string

// The kinds of failure.
const (
	KindDecode      Kind = "decode"             // bytes that are not the payload they should be
	KindValidation  Kind = "validation"         // a payload that says it is not acceptable
	KindDomain      Kind = "domain"             // a business rule said no
	KindTooLarge    Kind = "too_large"          // beyond a limit of the log
	KindPanic       Kind = "panic"              // a handler panicked
	KindCrash       Kind = "crash"              // the process died while handling it, more than once
	KindTimeout     Kind = "timeout"            // no answer in time
	KindRemote      Kind = "remote"             // the other side failed
	KindRateLimited Kind = "rate_limited"       // the other side asked to slow down
	KindPermanent   Kind = "permanent"          // the other side will never accept it
	KindRejected    Kind = "rejected_by_policy" // a breaker, budget or limit did not let it out
	KindUnknown     Kind = "unknown"            // nobody said
)

// Known reports whether k is one of the kinds above. Text read from outside
// may hold another.
func (k Kind) Known() bool {
	switch k {
	case KindDecode, KindValidation, KindDomain, KindTooLarge, KindPanic, KindCrash,
		KindTimeout, KindRemote, KindRateLimited, KindPermanent, KindRejected, KindUnknown:
		return true
	}
	return false
}

// Mark returns err with a kind: [KindOf] finds it through any wrapping, and
// [errors.Is] and [errors.As] still see err. A nil err stays nil.
func Mark(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &marked{kind, err}
}

// Invalid marks err as the record's own fault ([KindValidation]).
func Invalid(err error) error { return Mark(KindValidation, err) }

// KindOf returns the kind err is marked with: that of the first error in its
// tree, in the order of [errors.As], made by [Mark] or having a method
// ErrorKind() Kind. An error without one, nil included, is [KindUnknown]; what
// an unmarked error of a handler means is for the caller to say.
func KindOf(err error) Kind {
	if k, ok := errors.AsType[interface {
		error
		ErrorKind() Kind
	}](err); ok {
		return k.ErrorKind()
	}
	return KindUnknown
}

type marked struct {
	kind Kind
	err  error
}

func (m *marked) Error() string   { return string(m.kind) + ": " + m.err.Error() }
func (m *marked) Unwrap() error   { return m.err }
func (m *marked) ErrorKind() Kind { return m.kind }
