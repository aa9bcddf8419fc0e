package main

import (
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// floorOptions tell the floor programs apart.
type floorOptions struct {
	file fileKind
	sums bool // CRC-32C and SHA-256 of everything
}

// A fileKind is what a floor writes into.
type fileKind int

const (
	reserved   fileKind = iota // space was reserved by fallocate
	prewritten                 // filled with zeros and synced beforehand
	growing                    // empty
)

// floor writes and syncs, and does nothing else.
type floor struct {
	o     floorOptions
	sync  syncMode
	file  *os.File
	fd    int
	buf   []byte
	off   int64
	chain hash.Hash
	crc   uint32

	writes, syncs atomic.Int64
	stop          chan struct{} // closed by Flush: the background syncer ends
	stopped       sync.WaitGroup
	failed        error // of the background syncer; read once it has stopped
}

// syncLatest is how long Weir leaves frames that nobody waits for unsynced.
const syncLatest = 100 * time.Millisecond

func openFloor(o floorOptions) func(string, cell) (appender, error) {
	return func(dir string, c cell) (appender, error) {
		size, err := batchBytes(c)
		if err != nil {
			return nil, err
		}
		f := &floor{o: o, sync: c.sync, chain: sha256.New()}
		for _, r := range randomRecords(size, 1) {
			f.buf = r
		}
		f.file, err = os.OpenFile(filepath.Join(dir, "floor"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		f.fd = int(f.file.Fd())
		room := int64(size) * int64(c.batches(false)+c.batches(false)/50+4)
		switch o.file {
		case reserved:
			err = syscall.Fallocate(f.fd, 0, 0, room)
		case prewritten:
			err = fillZeros(f.file, room)
		case growing:
		}
		if err != nil {
			f.file.Close()
			return nil, err
		}
		return f, nil
	}
}

// fillZeros writes size zeros and syncs them.
func fillZeros(f *os.File, size int64) error {
	chunk := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(chunk)) {
		if _, err := f.WriteAt(chunk[:min(size-off, int64(len(chunk)))], off); err != nil {
			return err
		}
	}
	return f.Sync()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (f *floor) Append(_ [][]byte, wait bool) error {
	if f.sync == syncEnd && f.stop == nil {
		f.startSyncer()
	}
	if f.o.sums {
		f.crc = crc32.Update(f.crc, castagnoli, f.buf)
		f.chain.Write(f.buf)
	}
	n, err := syscall.Pwrite(f.fd, f.buf, f.off)
	if err != nil {
		return os.NewSyscallError("pwrite", err)
	}
	f.off += int64(n)
	f.writes.Add(1)
	if wait {
		return f.fdatasync()
	}
	return nil
}

func (f *floor) fdatasync() error {
	f.syncs.Add(1)
	return os.NewSyscallError("fdatasync", syscall.Fdatasync(f.fd))
}

// startSyncer syncs every syncLatest until Flush.
func (f *floor) startSyncer() {
	f.stop = make(chan struct{})
	f.stopped.Go(func() {
		tick := time.NewTicker(syncLatest)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if f.failed = f.fdatasync(); f.failed != nil {
					return
				}
			case <-f.stop:
				return
			}
		}
	})
}

func (f *floor) Flush() error {
	if f.stop != nil {
		close(f.stop)
		f.stopped.Wait()
		f.stop = nil
		if f.failed != nil {
			return f.failed
		}
		return f.fdatasync()
	}
	return nil
}

func (f *floor) Counts() counts {
	return counts{bytes: f.off, writes: f.writes.Load(), syncs: f.syncs.Load()}
}

func (f *floor) Close() error {
	err := f.Flush()
	if closed := f.file.Close(); err == nil {
		err = closed
	}
	return err
}
