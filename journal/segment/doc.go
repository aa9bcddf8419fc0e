// Package segment keeps a run's log in files: one append-only sequence of
// segments in the run's directory, beside its manifest and its snapshots.
//
//	l, report, err := segment.Open(vfs.OS, dir, segment.Options{})
//
// [Create] and [Open] give the [Log] to its only owner. [ReadManifest] and
// [OpenView] read a run without owning it, also while it has an owner; [Check]
// says whether everything that it holds is as it was written.
//
// The format, drawn byte by byte, and why recovery is right whatever a crash
// leaves are in docs/format.md. In short:
//
//	segment   header (512 bytes: run, number, first LSN, chain value), frames,
//	          zeros up to the planned size or, once it is full, a footer
//	frame     36 bytes and the body: magic, CRC-32C seeded with run, segment
//	          and offset, version, flags, length, LSN, epoch, synced, CRC of the
//	          frame before
//	footer    index (how far each stage and journal is; where records are),
//	          trailer with the LSNs and the SHA-256 chain value
//
// A frame is durable once a sync covers it; one sync covers all frames written
// before it. `synced` in later frames, the footer, the manifest's epochs and
// log/durable tell recovery what had been durable: it cuts what follows the last
// whole transition, but never below that; damage there is a [CorruptError] and
// nothing is changed.
//
// A log that failed to write or to sync is poisoned: it acknowledges nothing
// more, and only a new owner goes on. A full disk is waited out: see
// [journal.Stats].Paused.
package segment
