package segment

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Findings are what Check found.
type Findings struct {
	Run         string
	Segments    int
	Frames      uint64
	Transitions uint64
	Records     uint64
	Bytes       int64       // of frames
	First, Head journal.LSN // of the transitions that were checked
	Chain       string      // chain value after Head, hex; empty if frames are missing
	ChainAt     string      // chain value after the frame that CheckUpTo names, hex; empty if frames before it are missing, or it is
	Journals    []JournalTotal
	Snapshots   int
	Blobs       int
	Open        bool            // the last segment has no footer: the run was not closed
	Owned       bool            // a process owns the run: its end is still being written
	Unconfirmed int64           // bytes behind the last whole transition that nobody was told of
	Damage      []*CorruptError // in the order of the log; at most MaxDamage
}

// A JournalTotal is the end of one journal.
type JournalTotal struct {
	Stage, Port string
	Records     uint64
	Digest      uint64
}

// MaxDamage is how much damage Check lists before it gives up.
const MaxDamage = 100

// Check reads everything that a run holds and computes it anew: every CRC, the
// chain, LSNs, frame numbers and sequences without gaps, the count and digest of
// every port, footers, snapshots, blobs and the manifest. It takes no lock and
// changes nothing; a tail that was not confirmed is no damage. The error says
// that the run could not be read.
func Check(fsys vfs.FS, dir string) (*Findings, error) { return CheckUpTo(fsys, dir, 0) }

// CheckUpTo is Check, and says which chain value there is after the frame at lsn,
// behind which the run may go on.
func CheckUpTo(fsys vfs.FS, dir string, lsn journal.LSN) (*Findings, error) {
	for {
		before, err := fsys.Stat(manifestFile(dir))
		if err != nil {
			return nil, fmt.Errorf("check run in %s: %w", dir, err)
		}
		f, err := check(fsys, dir, lsn)
		if err != nil {
			return nil, fmt.Errorf("check run in %s: %w", dir, err)
		}
		after, err := fsys.Stat(manifestFile(dir))
		if err != nil {
			return nil, fmt.Errorf("check run in %s: %w", dir, err)
		}
		a, _ := vfs.IdentityOf(before)
		b, _ := vfs.IdentityOf(after)
		if len(f.Damage) == 0 || a == b {
			return f, nil
		}
		// An owner came meanwhile: what looks damaged may be what it has cut.
	}
}

func check(fsys vfs.FS, dir string, lsn journal.LSN) (*Findings, error) {
	m, err := ReadManifest(fsys, dir)
	c := checker{layout: newLayout(fsys, dir, m.Run), manifest: m, ledger: newLedger(), at: lsn}
	if err != nil {
		return &c.found, c.damage(err)
	}
	c.found.Run = m.Run
	if _, c.found.Owned, err = fsys.LockHolder(lockFile(dir)); err != nil {
		return nil, err
	}
	for _, step := range []func() error{c.log, c.snapshots, c.blobs} {
		if err := step(); err != nil && !errors.Is(err, errTooMuch) {
			return nil, err
		}
	}
	c.found.Journals = c.ledger.totals()
	return &c.found, nil
}

var errTooMuch = errors.New("too much damage")

type checker struct {
	layout
	manifest journal.Manifest
	ledger   *ledger
	at       journal.LSN // of which the chain value is asked for
	found    Findings
}

// damage notes an error that is damage, and returns any other.
func (c *checker) damage(err error) error {
	var bad *CorruptError
	if !errors.As(err, &bad) {
		return err
	}
	if len(c.found.Damage) == MaxDamage {
		return errTooMuch
	}
	c.found.Damage = append(c.found.Damage, bad)
	return nil
}

// log checks the segments one after the other.
func (c *checker) log() error {
	told, _, err := c.readHint()
	if err != nil {
		return err
	}
	if !told.proven {
		told = hint{number: told.number, sealed: told.sealed}
	}
	numbers, err := c.segments()
	if err != nil {
		return c.damage(err)
	}
	c.found.Segments = len(numbers)
	at := tail{prev: c.seed, chain: origin(c.run)}
	joined := true // at is where the segment before ends
	if len(numbers) > 0 && numbers[0] != 1 {
		joined = false
		if c.manifest.Kept == nil {
			if err := c.damage(&CorruptError{File: c.segment(1), Expected: "the first segment", Found: "none"}); err != nil {
				return err
			}
		}
	}
	for i, number := range numbers {
		s := segmentCheck{checker: c, number: number, last: i == len(numbers)-1, told: told}
		if joined, err = s.check(&at, joined); err != nil {
			return err
		}
	}
	if joined {
		c.found.Chain = hex.EncodeToString(at.chain[:])
	}
	e := c.manifest.Epochs[len(c.manifest.Epochs)-1]
	if need := max(e.First-1, told.lsn); joined && at.lsn < need {
		return c.damage(&CorruptError{
			File: c.segment(max(at.number, told.number, 1)), Offset: at.off, LSN: at.lsn + 1,
			Expected: fmt.Sprintf("frames up to LSN %d, which were durable", need), Found: "the end of the log",
		})
	}
	return nil
}

// A segmentCheck checks one segment.
type segmentCheck struct {
	*checker
	number  uint64
	last    bool
	told    hint
	file    vfs.File
	scan    scanner
	chain   chain
	joined  bool  // nor segments before it
	whole   bool  // no frame was missing
	known   int64 // offset up to which everything was durable
	trailer *trailer
}

// check goes through the segment, which goes on at *at if joined, and leaves *at
// at its end. It tells whether that is known.
func (s *segmentCheck) check(at *tail, joined bool) (goesOn bool, err error) {
	f, err := s.fsys.Open(s.segment(s.number))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.file = f
	h, err := s.readHeader(f, s.number)
	if err != nil {
		s.ledger.gap()
		return false, s.damage(err)
	}
	if joined && (h.first != at.lsn+1 || h.prev != at.prev || h.chain != at.chain) {
		err := s.damage(&CorruptError{
			File: f.Name(), Offset: 12, LSN: h.first,
			Expected: fmt.Sprintf("a segment that goes on after LSN %d, CRC %08x, chain value %x", at.lsn, at.prev, at.chain),
			Found:    fmt.Sprintf("one that goes on after LSN %d, CRC %08x, chain value %x", h.first-1, h.prev, h.chain),
		})
		if err != nil {
			return false, err
		}
		joined = false
	}
	if s.joined = joined; !joined {
		s.ledger.gap()
	}
	if s.found.First == 0 {
		s.found.First = h.first
	}
	if err := s.frames(&h); err != nil {
		return false, err
	}
	*at = tail{number: s.number, lsn: s.scan.lsn - 1, off: s.scan.off, prev: s.scan.prev, chain: s.chain.sum()}
	if t := s.trailer; t != nil {
		if s.whole && (t.last != at.lsn || t.prev != at.prev || t.chain != at.chain || t.end != at.off) {
			s.whole = false
			err = s.damage(&CorruptError{
				File: f.Name(), Offset: t.end, LSN: at.lsn,
				Expected: fmt.Sprintf("a footer for LSN %d, CRC %08x, chain value %x", at.lsn, at.prev, at.chain),
				Found:    fmt.Sprintf("one for LSN %d, CRC %08x, chain value %x", t.last, t.prev, t.chain),
			})
		}
		*at = tail{number: s.number, lsn: t.last, off: t.end, prev: t.prev, chain: t.chain}
		return true, err
	}
	return s.whole, nil
}

// frames reads footer and frames.
func (s *segmentCheck) frames(h *header) error {
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	end := size
	t, missing, err := s.readTrailer(s.file, h)
	if err != nil {
		return err
	}
	open := s.last && (!s.told.sealed || s.told.number != s.number)
	if missing == nil && open { // as recovery sees it: a footer is whole, or none
		if _, missing, err = s.readIndex(s.file, &t); err != nil {
			return err
		}
	}
	if missing == nil {
		s.trailer, end = &t, t.end
	} else if open {
		s.found.Open = true
	} else if err := s.damage(s.noFooter(s.file, missing)); err != nil {
		return err
	}
	s.known = headerSize
	if s.trailer != nil {
		s.known = t.end
	} else if s.told.number == s.number {
		s.known = max(s.known, s.told.off)
	}
	s.scan = scanner{
		src: s.file, name: s.file.Name(), sums: summer{seed: s.seed}, epochs: s.manifest.Epochs,
		number: s.number, off: headerSize, end: end, lsn: h.first, prev: h.prev, sure: true,
	}
	s.chain, s.whole = chain{before: h.chain}, true
	for s.scan.off < end {
		if err := s.epochBegins(); err != nil {
			return err
		}
		at := s.scan.off
		f, body, bad, err := s.scan.next()
		if err != nil {
			return err
		}
		if bad != nil {
			if more, err := s.broken(bad); err != nil || !more {
				return err
			}
			continue
		}
		s.chain.add(s.scan.raw)
		if f.lsn == s.at && s.whole && s.joined {
			sum := s.chain.sum()
			s.found.ChainAt = hex.EncodeToString(sum[:])
		}
		s.known = max(s.known, int64(f.synced))
		s.found.Frames++
		s.found.Bytes += f.size()
		if !f.more() {
			s.found.Transitions++
			s.found.Head = f.lsn
		}
		records, err := s.ledger.add(&f, body, s.scan.name, at)
		s.found.Records += records
		if err != nil {
			if err := s.damage(err); err != nil {
				return err
			}
			s.ledger.gap()
		}
	}
	return s.checkIndex()
}

// epochBegins compares the chain with what the manifest recorded when an epoch
// began here.
func (s *segmentCheck) epochBegins() error {
	for _, e := range s.manifest.Epochs {
		if !s.whole || e.First != s.scan.lsn {
			continue
		}
		if sum := s.chain.sum(); e.Chain != hex.EncodeToString(sum[:]) {
			err := s.damage(&CorruptError{
				File: s.scan.name, Offset: s.scan.off, LSN: s.scan.lsn - 1,
				Expected: fmt.Sprintf("chain value %s, as when epoch %d began", e.Chain, e.Number), Found: hex.EncodeToString(sum[:]),
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// broken says what it means that the bytes at the scanner are no frame that
// follows, and moves to the next one that is intact behind damage.
func (s *segmentCheck) broken(bad *fault) (more bool, err error) {
	next, found := frame{}, int64(0)
	err = s.scan.survivors(s.scan.off+1, func(f frame, off int64) {
		s.known = max(s.known, int64(f.synced))
		if found == 0 && f.lsn > s.scan.lsn && uint64(f.epoch) == s.scan.epochs.at(f.lsn) {
			next, found = f, off
		}
	})
	if err != nil {
		return false, err
	}
	e := s.manifest.Epochs[len(s.manifest.Epochs)-1]
	if s.scan.off >= s.known && s.scan.lsn >= e.First && (s.last || s.trailer != nil) {
		end, err := lastNonZero(s.file, s.scan.off, s.scan.end)
		if err == nil && !startsFooter(s.file, s.scan.off) {
			s.found.Unconfirmed = end - s.scan.off
		}
		return false, err
	}
	s.whole = false
	if err := s.damage(s.scan.corrupt(bad)); err != nil {
		return false, err
	}
	s.ledger.gap()
	if found == 0 || found >= s.known {
		return false, nil
	}
	s.scan.off, s.scan.lsn, s.scan.sure = found, next.lsn, false
	s.scan.forget()
	return true, nil
}

// checkIndex holds the footer's index to what was read.
func (s *segmentCheck) checkIndex() error {
	if s.trailer == nil {
		return nil
	}
	x, bad, err := s.readIndex(s.file, s.trailer)
	if err != nil {
		return err
	}
	if bad != nil {
		return s.damage(&CorruptError{File: s.scan.name, Offset: s.trailer.end, Expected: bad.expected, Found: bad.found})
	}
	if !s.whole {
		s.ledger.resume(x)
		return nil
	}
	if name, expected, found := s.ledger.differs(x); name != "" {
		return s.damage(&CorruptError{File: s.scan.name, Offset: s.trailer.end, Expected: name + " at " + expected + " in the index", Found: found})
	}
	return nil
}

// snapshots checks every snapshot, and that those are there which the newest
// checkpoints name.
func (c *checker) snapshots() error {
	entries, err := c.fsys.ReadDir(c.snapDir())
	if err != nil {
		return err
	}
	sums := map[string][32]byte{}
	for _, e := range entries {
		name, err := url.PathUnescape(e.Name())
		if err != nil || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		data, err := c.readSnapshot(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its owner just removed it
		}
		if err != nil {
			if err := c.damage(err); err != nil {
				return err
			}
			continue
		}
		c.found.Snapshots++
		sums[name] = sha256.Sum256(data)
	}
	if c.found.Owned {
		return nil // the owner may have replaced what was read first
	}
	for _, check := range c.ledger.checkpoints() {
		sum, ok := sums[check.name]
		if ok && sum == check.sum || c.damagedSnapshot(check.name) {
			continue
		}
		file, err := c.snapshot(check.name)
		if err != nil {
			return err
		}
		found := "none"
		if ok {
			found = hex.EncodeToString(sum[:])
		}
		err = c.damage(&CorruptError{
			File: file, LSN: check.lsn,
			Expected: fmt.Sprintf("a snapshot with SHA-256 %x, as the checkpoint of stage %s says", check.sum, check.stage), Found: found,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) damagedSnapshot(name string) bool {
	file, err := c.snapshot(name)
	for _, d := range c.found.Damage {
		if err == nil && d.File == file {
			return true
		}
	}
	return false
}

// blobs checks that each blob has the hash that is its name.
func (c *checker) blobs() error {
	dir := filepath.Join(c.dir, "blob")
	entries, err := c.fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if len(e.Name()) != 2*sha256.Size {
			continue
		}
		sum, err := c.hashFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		c.found.Blobs++
		if sum != e.Name() {
			err := c.damage(&CorruptError{File: filepath.Join(dir, e.Name()), Expected: "content with the SHA-256 that is its name", Found: sum})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) hashFile(name string) (sum string, err error) {
	f, err := c.fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
