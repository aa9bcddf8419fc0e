package main

import (
	"context"
	"path/filepath"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// weirLog is Weir's log on disk with its defaults, fed as a source stage does.
type weirLog struct {
	transitionMaker
	log   *segment.Log
	files *vfs.Trace
}

func openWeir(dir string, c cell) (appender, error) {
	files := vfs.NewMeter(vfs.OS)
	mode := journal.Group
	if c.sync == syncNone {
		mode = journal.None
	}
	log, err := segment.Create(files, filepath.Join(dir, "run"),
		journal.Manifest{Run: "01K0000000000000000000BENCH", Flow: "bench"},
		segment.Options{Sync: journal.Sync{Mode: mode}})
	if err != nil {
		return nil, err
	}
	return &weirLog{log: log, files: files}, nil
}

func (w *weirLog) Append(records [][]byte, wait bool) error {
	frames, err := w.frames(records)
	if err != nil {
		return err
	}
	lsn, err := w.log.Append(context.Background(), journal.Normal, frames...)
	if err != nil || !wait {
		return err
	}
	return w.log.Await(context.Background(), lsn)
}

func (w *weirLog) Flush() error {
	return w.log.Await(context.Background(), w.log.Head())
}

func (w *weirLog) Counts() counts {
	c := w.files.Counts()
	return counts{bytes: c.BytesWritten, writes: c.Writes, syncs: c.Syncs + c.DirSyncs}
}

func (w *weirLog) Close() error { return w.log.Close() }
