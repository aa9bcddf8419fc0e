package journaltest

import (
	"io/fs"

	"github.com/weirflow/weir/internal/vfs"
)

// A Drop tells which syncs of files and directories are left out: the mistakes
// that a campaign must find. The owner counts the openings of the log in one
// case of a campaign: 1 created it, the others had to recover it. The Number of
// the op is zero.
type Drop func(owner int, op vfs.Op) bool

// lossy is a file system that says of some syncs that they were done.
type lossy struct {
	vfs.FS
	drop func(op vfs.Op) bool
}

func (l lossy) Open(name string) (vfs.File, error) { return l.file(l.FS.Open(name)) }

func (l lossy) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	return l.file(l.FS.OpenFile(name, flag, perm))
}

func (l lossy) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lossyFile{f, l.drop}, nil
}

func (l lossy) SyncDir(name string) error {
	if l.drop(vfs.Op{Kind: vfs.KindSyncDir, Name: name}) {
		return nil
	}
	return l.FS.SyncDir(name)
}

type lossyFile struct {
	vfs.File
	drop func(op vfs.Op) bool
}

func (f lossyFile) Sync() error {
	if f.drop(vfs.Op{Kind: vfs.KindSync, Name: f.Name()}) {
		return nil
	}
	return f.File.Sync()
}
