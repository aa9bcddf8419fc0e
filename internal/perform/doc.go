// Package perform makes one logical call of an effect, over any number of
// attempts, processes and crashes.
//
// What to do next is a pure decision, [next], over what is on record about the
// call, the effect's safety class and its policies. The shell, [Do], does it: it
// waits, records, has what was recorded made durable, calls, and asks what became
// of a call. Whatever is lost when the process ends can be found out again from the
// record:
//
//	begun, no outcome   Idempotent              called again
//	                    Keyed, KeyedByInput     called again: recorded request, same key
//	                    AtLeastOnce             called again, as another attempt
//	                    Transactional           the port is asked for the key, then called again
//	                    AtMostOnce              reconciled; else parked, in doubt
//	outcome unknown     as above, as long as retries are left; then reconciled if it
//	                    can be; else given up, and what happened stays unknown
//	known not to have   called again, as long as retries are left; then given up
//	happened, rejected
//
// Retries count attempts whose end is on record. An attempt that a crash or a stop
// cut off counts for nothing.
package perform
