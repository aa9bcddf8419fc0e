// Package journal is the contract of a run's log: one append-only sequence of
// frames that carries the journals of every stage of a run.
//
// A [Transition] is what one stage did, all or nothing: what it reacted to and
// everything that followed from it. [Encode] turns it into one or more [Frame]s,
// a [Log] places them in the run's order (an [LSN] each), makes them durable and
// gives them back to readers as [Entry] values, which [Parse] decodes.
//
// Three words are used strictly here. Placed: the frame has its LSN, readers of
// the owning process may see it, and it is never taken back while the process
// lives. Durable: a prefix of the log survives a loss of power; only durable
// frames may be acted upon outside of the process. Transition: the unit of
// atomicity; a reader sees all frames of one or none.
//
// Implementations are [github.com/weirflow/weir/journal/memory] and
// [github.com/weirflow/weir/journal/segment]; package journaltest holds the
// conformance suite that each passes.
package journal
