package main

import (
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// raftWAL is hashicorp/raft-wal with its defaults.
type raftWAL struct {
	log   *wal.WAL
	files *raftFiles
	next  uint64
	logs  []*raft.Log
}

func openRaftWAL(dir string, c cell) (appender, error) {
	files := &raftFiles{VFS: fs.New()}
	log, err := wal.Open(dir,
		wal.WithSegmentFiler(segment.NewFiler(dir, files)),
		wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	w := &raftWAL{log: log, files: files, next: 1}
	for range c.batch {
		w.logs = append(w.logs, new(raft.Log))
	}
	return w, nil
}

// Append syncs whether wait is true or not: StoreLogs knows no other way.
func (w *raftWAL) Append(records [][]byte, _ bool) error {
	for i, r := range records {
		w.logs[i].Index, w.logs[i].Data = w.next, r
		w.next++
	}
	return w.log.StoreLogs(w.logs)
}

func (w *raftWAL) Flush() error   { return nil }
func (w *raftWAL) Counts() counts { return w.files.counts() }
func (w *raftWAL) Close() error   { return w.log.Close() }

// raftFiles counts what segments are asked for.
type raftFiles struct {
	types.VFS
	meter
}

func (v *raftFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := v.VFS.Create(dir, name, size)
	return raftFile{f, &v.meter}, err
}

func (v *raftFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := v.VFS.OpenWriter(dir, name)
	return raftFile{f, &v.meter}, err
}

type raftFile struct {
	types.WritableFile
	m *meter
}

func (f raftFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.wrote(len(p))
	return f.WritableFile.WriteAt(p, off)
}

func (f raftFile) Sync() error {
	f.m.syncs.Add(1)
	return f.WritableFile.Sync()
}

// A meter counts calls to the operating system.
type meter struct{ bytes, writes, syncs atomic.Int64 }

func (m *meter) wrote(n int) {
	m.writes.Add(1)
	m.bytes.Add(int64(n))
}

func (m *meter) counts() counts {
	return counts{bytes: m.bytes.Load(), writes: m.writes.Load(), syncs: m.syncs.Load()}
}
