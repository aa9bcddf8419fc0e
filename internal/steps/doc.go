// Package steps runs a durable function over one input: from its beginning each
// time, with what is on record of its steps given back until the first step that
// is not on record.
//
//	handler calls      on record as                       given back
//	Do, Compensate     intent, attempt, outcome           the final outcome
//	Capture            capture                            the captured value
//	Sleep              waiting; woken                     that the time has come
//	Await              waiting; woken with a signal's id  the signal, or the timeout
//	Since              change                             whether it is on record
//
// Steps are matched by name. A step of another kind under a recorded name, another
// effect, and a recorded step that the code passes by when it finishes, diverge: the
// input is parked, and a person decides. What the handler emits is written in the
// transition of the step that follows, or of its end, and counted there, so that
// the same emissions are passed over when it is run again.
package steps
