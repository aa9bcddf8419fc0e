package main

import (
	"time"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// frameHeader is what journal/segment puts before each frame; see docs/format.md.
const frameHeader = 36

// A transitionMaker makes the transition that a source makes of a batch.
type transitionMaker struct {
	t       journal.Transition
	encoder journal.Encoder
	digest  wire.Digest
	seq     uint64
	records []byte
}

// frames returns the frames of the next transition, valid until the next call.
func (m *transitionMaker) frames(records [][]byte) ([]journal.Frame, error) {
	first := m.seq + 1
	last := -1
	m.records = m.records[:0]
	var r journal.Record
	for _, payload := range records {
		m.seq++
		r.Payload = payload
		m.records, last = journal.AppendRecord(m.records, last, &r)
		m.digest = m.digest.Add(m.seq, wire.Checksum(payload))
	}
	t := &m.t
	t.Stage = "source"
	t.Number++
	t.Time = time.Now()
	t.Position = &journal.Position{Value: "1234567"}
	t.Outputs = append(t.Outputs[:0], journal.Output{
		Port: "out", Type: "Order", First: first, Count: len(records), Records: m.records, Digest: uint64(m.digest),
	})
	return m.encoder.Encode(t)
}

// batchBytes is how many bytes a batch takes in Weir's log.
func batchBytes(c cell) (int, error) {
	var m transitionMaker
	frames, err := m.frames(randomRecords(c.size, c.batch))
	size := 0
	for _, f := range frames {
		size += frameHeader + len(f.Body)
	}
	return size, err
}
