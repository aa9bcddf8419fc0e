package textfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weirflow/weir/internal/vfs"
)

// The phases of a part, as notes record them.
const (
	phaseWriting    = ""
	phaseFinalizing = "finalizing"
	phaseFinalized  = "finalized"
)

// A note is what a receipt records of a file being written.
type note struct {
	Path  string `json:"path"`
	Base  int64  `json:"base,omitempty"` // append: length of the file before the run
	Size  int64  `json:"size"`           // bytes written and synced, Base included
	CRC   uint32 `json:"crc"`            // CRC-32C of the run's own bytes
	Phase string `json:"phase,omitempty"`
}

func (n note) String() string {
	b, err := json.Marshal(n)
	if err != nil { // strings and integers only
		panic(err)
	}
	return string(b)
}

// A Part is a file on its way: what was written since the last Sync may be lost
// in a crash, what was synced and noted is there again at the next OpenPart.
//
// The bytes go to "<path>.<run>.part" and come under path with Finish, of a run that
// adds to another one's result under "<path>.<run>"; what is found behind the note is
// cut. Or they are appended to path itself, behind what it held. Nothing is ever cut
// then, because it may be someone else's: bytes found behind the note must be those
// that the run writes there again, or zeros, which a power cut leaves where they did
// not reach the disk.
type Part struct {
	fsys   vfs.FS
	path   string
	part   string // the file that is written
	append bool
	file   vfs.File
	lock   io.Closer
	buf    []byte
	note   note // with Size and CRC of everything written, buf included
	synced int64
	lost   error // why what was written since the last sync may be lost
	found  int64 // append: end of the bytes that were found behind the note
}

// A File is one that a run writes.
type File struct {
	Path   string
	Run    string
	Append bool // to the file at Path
	Beside bool // there may be one at Path, which stays: this one is "<path>.<run>"
}

// OpenPart opens a file to write. recorded is the note of the last receipt, "" if
// there is none; if f appends the note of a Part just opened must be durable before
// the first Write. A file that is shorter than the note, or differs from it, was
// changed by someone else: a *ChangedError, and nothing is touched.
func OpenPart(fsys vfs.FS, f File, recorded string) (*Part, error) {
	p := &Part{fsys: fsys, path: f.Path, part: f.Path + "." + f.Run + ".part", append: f.Append}
	switch {
	case f.Append:
		p.part = f.Path
	case f.Beside:
		p.path += "." + f.Run
	}
	p.note = note{Path: p.path}
	if recorded != "" {
		if err := json.Unmarshal([]byte(recorded), &p.note); err != nil {
			return nil, fmt.Errorf("%s: the recorded note %q is not one of a file: %w", p.path, recorded, err)
		}
	}
	var err error
	switch p.note.Phase {
	case phaseFinalized:
		return p, nil
	case phaseFinalizing:
		err = p.finishAgain()
	default:
		err = p.open(recorded == "")
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// open opens the file to write and cuts it to the note.
func (p *Part) open(first bool) error {
	if dir := filepath.Dir(p.path); dir != "." {
		if err := vfs.EnsureDir(p.fsys, dir, 0o755); err != nil {
			return refused("make the folder of", p.path, err)
		}
	}
	if info, err := p.fsys.Stat(p.path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory: name a file in it", p.path)
	}
	if p.append {
		if err := p.lockTarget(); err != nil {
			return err
		}
	}
	flag := os.O_RDWR
	if first {
		flag |= os.O_CREATE
	}
	file, err := p.fsys.OpenFile(p.part, flag, 0o644)
	if errors.Is(err, fs.ErrNotExist) && !first {
		return p.changed(fmt.Sprintf("%s is gone, of which %d bytes were delivered", p.part, p.note.Size))
	}
	if err != nil {
		return refused("open", p.part, err)
	}
	p.file = file
	if first {
		return p.begin()
	}
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", p.part, err)
	}
	if size < p.note.Size {
		return p.changed(fmt.Sprintf("%s has %d bytes, of which %d were delivered", p.part, size, p.note.Size))
	}
	if err := p.verify(file, p.part); err != nil {
		return err
	}
	switch {
	case size > p.note.Size && p.append:
		p.found = size
	case size > p.note.Size:
		if err := file.Truncate(p.note.Size); err != nil {
			return fmt.Errorf("truncate %s: %w", p.part, err)
		}
	}
	p.synced = p.note.Size
	return nil
}

// begin makes a new file, or finds out where an existing one ends.
func (p *Part) begin() error {
	size, err := p.file.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", p.part, err)
	}
	if p.append {
		p.note.Base, p.note.Size = size, size
	} else if size > 0 { // of an epoch that died before its first receipt
		if err := p.file.Truncate(0); err != nil {
			return fmt.Errorf("truncate %s: %w", p.part, err)
		}
	}
	p.synced = p.note.Size
	if err := p.fsys.SyncDir(filepath.Dir(p.part)); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", p.part, err)
	}
	return nil
}

func (p *Part) lockTarget() error {
	lock, err := p.fsys.Lock(p.path+".lock", "")
	if err != nil {
		return fmt.Errorf("%s: another run appends to it: %w", p.path, err)
	}
	p.lock = lock
	return nil
}

// verify compares the run's own bytes in f with the note.
func (p *Part) verify(f vfs.File, name string) error {
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, p.note.Base, p.note.Size-p.note.Base)); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if sum.Sum32() != p.note.CRC {
		return p.changed(fmt.Sprintf("%s was changed by someone else: its first %d bytes are not those that were delivered", name, p.note.Size))
	}
	return nil
}

func (p *Part) changed(what string) error {
	return &ChangedError{Path: p.path, What: what, Advice: "put the file back to continue this run, or start a new one"}
}

// finishAgain does what Finish had begun.
func (p *Part) finishAgain() error {
	if p.append {
		return nil
	}
	if _, err := p.fsys.Stat(p.part); err == nil {
		return nil // Finish renames it
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at %s: %w", p.part, err)
	}
	file, err := p.fsys.Open(p.path)
	if err != nil {
		return p.changed(fmt.Sprintf("neither %s nor its part can be opened (%v)", p.path, err))
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", p.path, err)
	}
	if size != p.note.Size {
		return p.changed(fmt.Sprintf("%s has %d bytes, the run wrote %d", p.path, size, p.note.Size))
	}
	return p.verify(file, p.path)
}

// Empty reports that the run has written nothing yet, so that a header is due.
// With append it means that the whole file is empty.
func (p *Part) Empty() bool { return p.note.Size == 0 }

// Write adds b; it reaches the file with Sync at the latest. It does not fail:
// what a full disk does not take is kept, and Sync says so. A caller who was told
// here would hand over the same again, and the file would have it twice.
func (p *Part) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	p.note.Size += int64(len(b))
	p.note.CRC = crc32.Update(p.note.CRC, castagnoli, b)
	if len(p.buf) >= 256<<10 {
		_ = p.write() // tried again by Sync
	}
	return len(b), nil
}

func (p *Part) write() error {
	if len(p.buf) == 0 {
		return nil
	}
	at := p.note.Size - int64(len(p.buf))
	if err := p.compare(at); err != nil {
		return err
	}
	if _, err := p.file.WriteAt(p.buf, at); err != nil {
		return refused("write", p.part, err)
	}
	p.buf = p.buf[:0]
	return nil
}

// compare sees to it that bytes found behind the note are what is written there.
func (p *Part) compare(at int64) error {
	n := min(p.found-at, int64(len(p.buf)))
	if n <= 0 {
		return nil
	}
	there := make([]byte, n)
	if _, err := p.file.ReadAt(there, at); err != nil {
		return fmt.Errorf("read %s at offset %d: %w", p.path, at, err)
	}
	for i, b := range there {
		if b != p.buf[i] && b != 0 {
			return &ChangedError{
				Path:   p.path,
				What:   fmt.Sprintf("the bytes from offset %d on are not this run's", at),
				Advice: fmt.Sprintf("if nobody needs them, truncate the file to %d bytes and continue the run", at),
			}
		}
	}
	return nil
}

// Sync makes all that was written durable. It may be called again if a write
// failed. If the file system could not sync, nobody knows what reached the disk,
// and a second sync may succeed without writing it: the Part is of no more use,
// and OpenPart goes on from the last note.
func (p *Part) Sync() error {
	if p.file == nil || p.lost != nil {
		return p.lost
	}
	if err := p.write(); err != nil {
		return err
	}
	if p.synced == p.note.Size {
		return nil
	}
	if err := p.file.Sync(); err != nil {
		p.lost = refused("sync", p.part, err)
		return p.lost
	}
	p.synced = p.note.Size
	return nil
}

// Note is what the receipt must record for the next OpenPart.
func (p *Part) Note() string { return p.note.String() }

// Prepare makes everything durable and returns the note that must be durable
// before Finish.
func (p *Part) Prepare() (string, error) {
	if err := p.Sync(); err != nil {
		return "", err
	}
	if p.note.Phase == phaseWriting {
		p.note.Phase = phaseFinalizing
	}
	return p.Note(), nil
}

// Finish puts the file in place and returns the final note. It may be called
// again, also in a later epoch.
func (p *Part) Finish() (string, error) {
	if p.note.Phase == phaseFinalizing && !p.append {
		err := p.fsys.Rename(p.part, p.path)
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || p.finishAgain() != nil) {
			return "", fmt.Errorf("put %s in place: %w", p.path, err)
		}
		if err := p.fsys.SyncDir(filepath.Dir(p.path)); err != nil {
			return "", fmt.Errorf("sync the folder of %s: %w", p.path, err)
		}
	}
	p.note.Phase = phaseFinalized
	return p.Note(), nil
}

// Close closes the file and leaves it as it is.
func (p *Part) Close() error {
	var errs []error
	if p.file != nil {
		errs = append(errs, p.file.Close())
		p.file = nil
	}
	if p.lock != nil {
		errs = append(errs, p.lock.Close())
		p.lock = nil
	}
	return errors.Join(errs...)
}
