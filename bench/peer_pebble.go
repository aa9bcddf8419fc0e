package main

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleLog is Pebble used as a log: ascending keys, never read, never compacted.
type pebbleLog struct {
	db    *pebble.DB
	files *pebbleFiles
	next  uint64
	none  bool
}

func openPebble(dir string, c cell) (appender, error) {
	files := &pebbleFiles{FS: vfs.Default}
	db, err := pebble.Open(dir, &pebble.Options{
		FS:                          files,
		Logger:                      quiet{},
		MemTableSize:                64 << 20,
		MemTableStopWritesThreshold: 8,
		L0StopWritesThreshold:       1 << 20,
		DisableAutomaticCompactions: true,
	})
	if err != nil {
		return nil, err
	}
	return &pebbleLog{db: db, files: files, none: c.sync == syncNone}, nil
}

func (l *pebbleLog) Append(records [][]byte, wait bool) error {
	b := l.db.NewBatch()
	defer b.Close()
	var key [8]byte
	for _, r := range records {
		l.next++
		binary.BigEndian.PutUint64(key[:], l.next)
		if err := b.Set(key[:], r, nil); err != nil {
			return err
		}
	}
	how := pebble.NoSync
	if wait {
		how = pebble.Sync
	}
	return b.Commit(how)
}

func (l *pebbleLog) Flush() error {
	if l.none {
		return nil
	}
	return l.db.LogData(nil, pebble.Sync)
}

func (l *pebbleLog) Counts() counts { return l.files.counts() }
func (l *pebbleLog) Close() error   { return l.db.Close() }

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, args ...any) {
	pebble.DefaultLogger.Fatalf(f, args...)
}

// pebbleFiles counts what all files of a store are asked for.
type pebbleFiles struct {
	vfs.FS
	meter
}

func (v *pebbleFiles) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return pebbleFile{f, &v.meter}, nil
}

func (v *pebbleFiles) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return v.count(v.FS.Create(name, category))
}

func (v *pebbleFiles) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return v.count(v.FS.OpenReadWrite(name, category, opts...))
}

func (v *pebbleFiles) OpenDir(name string) (vfs.File, error) { return v.count(v.FS.OpenDir(name)) }

func (v *pebbleFiles) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return v.count(v.FS.ReuseForWrite(oldname, newname, category))
}

type pebbleFile struct {
	vfs.File
	m *meter
}

func (f pebbleFile) Write(p []byte) (int, error) {
	f.m.wrote(len(p))
	return f.File.Write(p)
}

func (f pebbleFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.wrote(len(p))
	return f.File.WriteAt(p, off)
}

func (f pebbleFile) Sync() error {
	f.m.syncs.Add(1)
	return f.File.Sync()
}

func (f pebbleFile) SyncData() error {
	f.m.syncs.Add(1)
	return f.File.SyncData()
}

func (f pebbleFile) SyncTo(length int64) (bool, error) {
	f.m.syncs.Add(1)
	return f.File.SyncTo(length)
}
