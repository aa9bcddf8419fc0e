package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// A syncMode says when records become durable.
type syncMode string

const (
	syncNone syncMode = "none"  // never; the run ends when everything is written
	syncEach syncMode = "each"  // each batch is waited for before the next is appended
	syncEnd  syncMode = "group" // in the background while batches follow each other; waited for at the end
)

// A cell is one case of the append benchmark.
type cell struct {
	size, batch int
	sync        syncMode
}

func (c cell) String() string {
	return fmt.Sprintf("size=%d/batch=%d/sync=%s", c.size, c.batch, c.sync)
}

// batches is how many to append in one run: enough to take a good part of a
// second, within what the page cache takes without throttling the writer.
func (c cell) batches(short bool) int {
	limit, most := 128<<20, 200_000
	if c.sync == syncEach {
		limit, most = 96<<20, 1500
	}
	if short {
		limit, most = limit/32, most/20
	}
	return max(min(limit/(c.size*c.batch), most), 4)
}

// An appender is a log as the benchmark uses it.
type appender interface {
	// Append appends records in one piece; if wait is true they are durable on
	// return.
	Append(records [][]byte, wait bool) error
	// Flush returns when all that was appended is written and, unless the log was
	// opened without syncs, durable.
	Flush() error
	// Counts is what was asked of the operating system so far.
	Counts() counts
	Close() error
}

type counts struct{ bytes, writes, syncs int64 }

// A contender is a log that can be opened for a cell.
type contender struct {
	name string
	can  func(cell) bool
	open func(dir string, c cell) (appender, error)
}

func always(cell) bool { return true }

// Names of the programs that are compared with.
const (
	appendWeir     = "weir"
	appendFloor    = "floor"
	appendPrepared = "floor, zero-filled"
	appendGrow     = "floor, growing"
	appendSums     = "floor + sums"
)

func contenders() []contender {
	return []contender{
		{appendFloor, always, openFloor(floorOptions{file: reserved})},
		{appendPrepared, always, openFloor(floorOptions{file: prewritten})},
		{appendGrow, always, openFloor(floorOptions{file: growing})},
		{appendSums, always, openFloor(floorOptions{file: reserved, sums: true})},
		{appendWeir, always, openWeir},
		{"raft-wal", func(c cell) bool { return c.sync == syncEach }, openRaftWAL},
		{"pebble", func(c cell) bool { return c.sync != syncEnd }, openPebble},
	}
}

func runAppend(ctx context.Context, e *env, r *Report) error {
	r.about(appendAbout)
	for _, size := range []int{256, 1024} {
		for _, sync := range []syncMode{syncEach, syncEnd, syncNone} {
			for _, batch := range []int{1, 64, 1024} {
				c := cell{size, batch, sync}
				if !e.wants(c.String()) || e.short && size > 256 {
					continue
				}
				if err := runCell(ctx, e, r, c); err != nil {
					return fmt.Errorf("%v: %w", c, err)
				}
			}
		}
	}
	return nil
}

func runCell(ctx context.Context, e *env, r *Report, c cell) error {
	var programs []program
	for _, who := range contenders() {
		if who.can(c) && e.runs(who.name) {
			programs = append(programs, program{who.name, func(context.Context) (Sample, error) { return appendOnce(e, who, c) }})
		}
	}
	got, err := interleave(ctx, e.rounds, programs)
	if err != nil {
		return err
	}
	r.keep(c.String(), got)
	if e.sole != "" {
		return nil
	}
	reportCell(r, c, programs, got)
	return nil
}

// appendOnce opens a fresh log, appends the batches of c and closes it.
func appendOnce(e *env, who contender, c cell) (s Sample, err error) {
	dir, err := e.scratch()
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	log, err := who.open(dir, c)
	if err != nil {
		return s, err
	}
	defer func() {
		if closed := log.Close(); err == nil {
			err = closed
		}
	}()
	records := randomRecords(c.size, c.batch)
	wait := c.sync == syncEach
	n := c.batches(e.short)
	for range max(n/50, 1) { // first writes of a fresh log cost more
		if err := log.Append(records, wait); err != nil {
			return s, err
		}
	}
	if err := log.Flush(); err != nil {
		return s, err
	}
	before := log.Counts()
	var took []time.Duration
	if wait {
		took = make([]time.Duration, 0, n)
	}
	watch := startWatch()
	for range n {
		began := time.Time{}
		if wait {
			began = time.Now()
		}
		if err := log.Append(records, wait); err != nil {
			return s, err
		}
		if wait {
			took = append(took, time.Since(began))
		}
	}
	if err := log.Flush(); err != nil {
		return s, err
	}
	watch.stop(&s)
	after := log.Counts()
	s.Records = int64(n) * int64(c.batch)
	s.Bytes, s.Writes, s.Syncs = after.bytes-before.bytes, after.writes-before.writes, after.syncs-before.syncs
	s.latencies(took)
	return s, nil
}

// randomRecords are n records that do not compress.
func randomRecords(size, n int) [][]byte {
	random := rand.NewChaCha8([32]byte{1})
	records := make([][]byte, n)
	for i := range records {
		records[i] = make([]byte, size)
		random.Read(records[i])
	}
	return records
}

func reportCell(r *Report, c cell, programs []program, got map[string][]Sample) {
	columns := []string{c.String(), "records/s", "spread", "of floor", "CPU/record", "B/record", "writes", "syncs"}
	if c.sync == syncEach {
		columns = append(columns, "p50", "p99")
	}
	title := fmt.Sprintf("B1 %s: %d batches in each of %d runs", c, got[programs[0].name][0].Records/int64(c.batch), len(got[programs[0].name]))
	t := r.table(title, columns...)
	floor := figure(got[appendFloor], Sample.rate).Median
	for _, p := range programs {
		ss := got[p.name]
		rate := figure(ss, Sample.rate)
		of := func(f func(Sample) float64) float64 { return figure(ss, f).Median }
		row := []string{
			p.name, count(rate.Median), spread(rate), ratio(rate.Median / floor),
			nanoseconds(of(Sample.cpuPerRecord)),
			fmt.Sprintf("%.1f", of(func(s Sample) float64 { return float64(s.Bytes) / float64(s.Records) })),
			count(of(func(s Sample) float64 { return float64(s.Writes) })),
			count(of(func(s Sample) float64 { return float64(s.Syncs) })),
		}
		if c.sync == syncEach {
			row = append(row,
				nanoseconds(of(func(s Sample) float64 { return float64(s.P50) })),
				nanoseconds(of(func(s Sample) float64 { return float64(s.P99) })))
		}
		t.add(row...)
	}
	judgeCell(r, c, got)
}

// judgeCell compares Weir with the targets.
func judgeCell(r *Report, c cell, got map[string][]Sample) {
	weir := figure(got[appendWeir], Sample.rate).Median
	if weir == 0 {
		return
	}
	of := func(name string) float64 { return weir / figure(got[name], Sample.rate).Median }
	r.verdict(of(appendFloor) >= 0.7, fmt.Sprintf("B1 %v: ≥ 0.7 × the floor", c), "%.2f × (zero-filled %.2f ×, with sums %.2f ×)", of(appendFloor), of(appendPrepared), of(appendSums))
	if c.sync != syncEach {
		return
	}
	if c.batch == 1 {
		r.verdict(of(appendGrow) >= 0.9, fmt.Sprintf("B1 %v: ≥ 0.9 × append and fdatasync", c),
			"%.2f × on a growing file, %.2f × on a reserved one, %.2f × on a zero-filled one", of(appendGrow), of(appendFloor), of(appendPrepared))
	}
	r.verdict(of("raft-wal") > 1 && of("pebble") > 1, fmt.Sprintf("B1 %v: ahead of raft-wal and Pebble", c),
		"%.2f × raft-wal, %.2f × Pebble", of("raft-wal"), of("pebble"))
}

const appendAbout = `One goroutine appends batches of records of one size, incompressible, to a fresh log. sync=each: it waits until each batch is durable
before it appends the next (what a client does that acknowledges each batch). sync=group: it appends without waiting, the log syncs in the
background, and the run ends when everything is durable. sync=none: no syncs; the run ends when everything is written.

The floor is the bare physical work: one write(2) of as many bytes as a batch takes in Weir's log, frame included, and fdatasync at the same
cadence (sync=group: every 100 ms from a second goroutine, as Weir does when nobody waits, and once at the end), into a file whose space was
reserved with fallocate. It computes nothing. Three variants show what else matters: "zero-filled" writes into a file that was filled with zeros
and synced before the clock started, so that a sync has no metadata to write and a write finds its pages in the cache (work that a log which
keeps its data has to do as well, though not while someone waits); "growing" appends to an empty file, which is what append and fdatasync cost
without preparation; "+ sums" is the floor with CRC-32C and SHA-256 of the bytes on the same goroutine, which a log with checksums and a hash
chain cannot do without.

Weir: a transition with one output of that many records, encoded (payload CRCs and port digest included), appended to journal/segment. raft-wal:
StoreLogs, which always syncs. Pebble: a batch of Sets under 8-byte ascending keys, committed with Sync or NoSync; automatic compactions are off,
flushes of full memtables are part of what it does and of its bytes and syncs.

Bytes, writes and syncs are counted where each program calls the operating system, inside the measured time: the floor itself, Weir through
its file-system seam, Pebble through its vfs, raft-wal through its segment VFS (its BoltDB, written when a segment is rotated, is not counted).`
