package contract

// Reader is the reader's side of the transport contract of one edge. It is
// owned by the reading stage. After a violation the verdict stands and nothing
// is added any more.
type Reader struct {
	subject  Subject
	ledger   Ledger
	agreed   uint64 // up to here both sides are known to agree
	writer   Ledger // the writer's ledger at the last comparison
	final    bool
	violated Violation
}

// NewReader returns the ledger of a reader that has consumed what start sums
// up: the zero Ledger for a reader from the beginning; for one that resumes,
// its own ledger at its checkpoint; for one that starts later, the writer's
// ledger where it starts.
func NewReader(subject Subject, start Ledger) *Reader {
	return &Reader{subject: subject, ledger: start, writer: start, agreed: start.Last}
}

// Ledger returns the reader's ledger.
func (r *Reader) Ledger() Ledger { return r.ledger }

// Consume records a run of records from the sequence from. It returns the
// verdict, which fails if the run is not the next one.
func (r *Reader) Consume(from uint64, crcs []uint32) Verdict {
	if r.violated == (Violation{}) && len(crcs) > 0 {
		switch {
		case r.final:
			r.violate("records after the end", r.ledger.Last, from, from, from)
		case !r.ledger.AddRun(from, crcs):
			next := r.ledger.Last + 1
			at := min(next, from)
			r.violate("next sequence", next, from, at, at)
		}
	}
	return r.Verdict()
}

// FrameEnd compares with the writer's ledger after a frame. The reader calls it
// when it has consumed the frame's last record; a frame without records on the
// journal needs no call. It returns the verdict.
func (r *Reader) FrameEnd(writer Ledger) Verdict {
	r.compare(writer)
	return r.Verdict()
}

// End compares with the count and digest of the writer's EOF and decides the
// contract.
func (r *Reader) End(writer Ledger) Verdict {
	r.compare(writer)
	r.final = true
	return r.Verdict()
}

// Behind reports whether the reader has not yet consumed all that the writer's
// ledger sums up, so that it is too early to compare.
func (r *Reader) Behind(writer Ledger) bool { return r.ledger.Last < writer.Last }

func (r *Reader) compare(w Ledger) {
	if r.violated != (Violation{}) {
		return
	}
	l := r.ledger
	switch {
	case l.Last != w.Last:
		at := min(l.Last, w.Last) + 1
		r.violate("last sequence", w.Last, l.Last, at, at)
	case l.Count != w.Count:
		r.violate("count", w.Count, l.Count, r.agreed+1, l.Last)
	case l.Digest != w.Digest:
		r.violate("digest", uint64(w.Digest), uint64(l.Digest), min(r.agreed+1, l.Last), l.Last)
	default:
		r.agreed = l.Last
	}
	r.writer = w
}

func (r *Reader) violate(what string, expected, found, from, to uint64) {
	r.violated = Violation{What: what, Expected: expected, Found: found, From: from, To: to}
}

// Verdict returns the state of the contract: pending until End, unless it
// failed. While it is pending the evidence is what was agreed on last.
func (r *Reader) Verdict() Verdict {
	v := Verdict{Kind: Transport, Subject: r.subject, Evidence: Evidence{Writer: r.writer, Reader: r.ledger}}
	switch {
	case r.violated != (Violation{}):
		v.State, v.Violation = Fail, r.violated
	case r.final:
		v.State = Pass
	}
	return v
}

// Part returns the first sequence at which the checksums of a writer and a
// reader part, both beginning with the record from, and whether they do. It
// narrows a digest violation when both sides still have the frame.
func Part(from uint64, writer, reader []uint32) (uint64, bool) {
	n := min(len(writer), len(reader))
	for i := range n {
		if writer[i] != reader[i] {
			return from + uint64(i), true
		}
	}
	return from + uint64(n), len(writer) != len(reader)
}

// Source decides the contract of a source at its EOF: a declared count, if
// there is one, was met.
func Source(subject Subject, declared uint64, isDeclared bool, written Ledger) Verdict {
	v := Verdict{Kind: Declared, Subject: subject, State: Pass, Evidence: Evidence{Writer: written, Reader: written}}
	if isDeclared {
		v.Evidence.Writer = Ledger{Count: declared, Last: declared}
		if written.Count != declared {
			at := min(declared, written.Count) + 1
			v.State = Fail
			v.Violation = Violation{What: "declared count", Expected: declared, Found: written.Count, From: at, To: at}
		}
	}
	return v
}
