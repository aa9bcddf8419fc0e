// Package inbox is how other processes tell a run something: what a person
// decided about an input that waits, and signals. Whoever tells calls [Put]; the
// run's owner scans its [Box] at start and whenever a file appears, records each
// message with its id, and removes it when that record is durable.
//
//	id, err := inbox.Put(vfs.OS, runDir, inbox.Message{
//		At: now, By: "ann",
//		Decision: &inbox.Decision{Stage: "charge", Input: input, Verdict: "done", Reason: "seen in the bank's list"},
//	})
//
// # Format
//
// A message is the file inbox/<id>.json in the run directory. The id is a ULID:
// messages are taken in the order of their names, which is that of their
// making for one writer, and to the millisecond for several. The content is one
// JSON object (RFC 8259, UTF-8, no name twice) of at most [MaxFile] bytes:
//
//	{
//	  "format":  1,                       // a reader refuses another
//	  "kind":    "decision",
//	  "at":      "2026-03-01T09:00:00Z",  // RFC 3339, when it was handed in; from 1970
//	  "by":      "ann",                   // who; optional
//	  "stage":   "charge",                // where the input waits
//	  "input":   "orders.out:3@…",        // record id of the input
//	  "step":    "charge",                // of an orchestration; optional
//	  "verdict": "done",                  // done, not done, retry, failed or continue
//	  "result":  {"charge":"ch_17"},      // any JSON; optional
//	  "reason":  "seen in the bank's list"
//	}
//
//	{
//	  "format": 1, "kind": "signal", "at": "…", "by": "ann",
//	  "name":    "approve",               // of the signal
//	  "key":     "o-17",                  // whom it is for; optional
//	  "payload": {"ok":true}              // any JSON; optional
//	}
//
// A field that is not listed here is refused: what is not understood is not
// half done.
//
// # What holds
//
// When Put returns the message is durable: it was written to <id>.json.tmp,
// synced, renamed, and the directory synced. A writer that dies before may leave
// the temporary file, which nobody reads, or the message.
//
// A message takes effect once, whatever dies when: it is removed only after its
// record is durable, and one that is still there although it was recorded is
// known by its id. So a file may be seen any number of times; it is the
// owner who looks whether the id is recorded, and then only removes it.
//
// What is no message (another name, too large, not a file, not this format) is
// reported and left alone: this package removes nothing but messages that the
// owner names by their id.
package inbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/vfs"
)

// Dir is the name of the inbox within a run's directory.
const Dir = "inbox"

const suffix = ".json"

// A Message is one thing that another process tells a run: a decision or a
// signal, never both.
type Message struct {
	ID string    // a ULID; given by [Put]
	At time.Time // when it was handed in; UTC
	By string    // who says so, as they call themselves

	Decision *Decision
	Signal   *Signal
}

// A Decision is what a person says about an input that waits for one.
type Decision struct {
	Stage   string         // where the input waits
	Input   event.RecordID // which input
	Step    string         // that waits; "" in a stage with one effect for each input, or for the input as a whole
	Verdict string         // what to do: one of the Verdicts
	Result  jsontext.Value // of what was done, if that is the verdict; nil if there is none
	Reason  string         // for people
}

// Verdicts are the words for what is to be done about an input in doubt. Package
// perform has what they mean.
var Verdicts = []string{"done", "not done", "retry", "failed", "continue"}

// A Signal is something that happened outside, for those who wait for it.
type Signal struct {
	Name    string
	Key     string         // whom it is for
	Payload jsontext.Value // nil if there is none
}

// ErrNoRun says that a message was handed in where no run is.
var ErrNoRun = errors.New("this is not the directory of a run")

// Put hands m in to the run in dir, and returns its id when it is durable. m.ID
// is ignored, m.At must be set. The error wraps [ErrNoRun] if dir has no run; a
// message outside the limits of this package is refused. After another error the
// message may be there or not.
func Put(fsys vfs.FS, dir string, m Message) (id string, err error) {
	if _, err := fsys.Stat(filepath.Join(dir, "manifest.json")); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", dir, ErrNoRun)
	} else if err != nil {
		return "", err
	}
	u, err := ulid.New(ulid.Timestamp(m.At), ulid.DefaultEntropy())
	if err != nil {
		return "", fmt.Errorf("name a message: %w", err)
	}
	m.ID = u.String()
	data, err := encode(&m)
	if err != nil {
		return "", err
	}
	box := filepath.Join(dir, Dir)
	if err := vfs.EnsureDir(fsys, box, 0o700); err != nil {
		return "", err
	}
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(box, m.ID+suffix), data, 0o600); err != nil {
		return "", err
	}
	return m.ID, nil
}

// A Box is the inbox of one run, for its owner. Its methods may be called
// concurrently.
type Box struct {
	fsys vfs.FS
	dir  string
}

// At returns the inbox of the run in dir, to look into it.
func At(fsys vfs.FS, dir string) *Box {
	return &Box{fsys: fsys, dir: filepath.Join(dir, Dir)}
}

// Open returns the inbox of the run in dir, for its owner; if there is no
// directory for it, it makes one.
func Open(fsys vfs.FS, dir string) (*Box, error) {
	b := At(fsys, dir)
	if err := vfs.EnsureDir(fsys, b.dir, 0o700); err != nil {
		return nil, err
	}
	return b, nil
}

// Watch begins to watch for messages. Watch first, then scan: then none is
// missed.
func (b *Box) Watch() *vfs.Watcher { return vfs.Watch(b.fsys, b.dir) }

// A Stray is something in an inbox that is no message, or none that can be read.
type Stray struct {
	File string // with its directory
	Err  error
}

// Name is by which Scan asks whether to skip the stray.
func (s Stray) Name() string { return filepath.Base(s.File) }

// scanned bounds how many messages one scan returns, and with [MaxFile] what it
// holds in memory.
const scanned = 64

// Scan returns messages in the order of their ids, at most 64, those left out
// that skip names: what was taken and is not removed yet. More says that there
// may be others, which the next Scan gives when skip knows these. What is no
// message is a stray; skip is asked about it by the name of its file, and a
// temporary file of [Put] is none. An inbox that is not there is empty.
func (b *Box) Scan(skip func(id string) bool) (messages []Message, strays []Stray, more bool, err error) {
	entries, err := b.fsys.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, false, nil
	}
	if err != nil {
		return nil, nil, false, err
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return cmp.Compare(x.Name(), y.Name()) })
	for _, e := range entries {
		file := e.Name()
		id, message := messageID(file)
		switch {
		case temporary(file):
			continue
		case !message:
			if !skip(file) {
				strays = append(strays, Stray{filepath.Join(b.dir, file), errors.New("its name is not that of a message: a ULID and .json")})
			}
			continue
		case skip(id):
			continue
		case len(messages) == scanned:
			return messages, strays, true, nil
		}
		m, err := b.read(id, e)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			if !skip(file) {
				strays = append(strays, Stray{filepath.Join(b.dir, file), err})
			}
		default:
			messages = append(messages, m)
		}
	}
	return messages, strays, false, nil
}

func (b *Box) read(id string, e fs.DirEntry) (Message, error) {
	if !e.Type().IsRegular() {
		return Message{}, errors.New("it is not a regular file")
	}
	data, err := vfs.ReadFile(b.fsys, b.File(id), MaxFile)
	if err != nil {
		return Message{}, err
	}
	return Parse(id, data)
}

// File returns the name of a message's file.
func (b *Box) File(id string) string { return filepath.Join(b.dir, id+suffix) }

// Remove removes messages for good, by their ids. One that is not there is no
// error. On return without an error none of them comes back after a loss of
// power.
func (b *Box) Remove(ids ...string) error {
	var errs []error
	for _, id := range ids {
		if _, ok := messageID(id + suffix); !ok {
			errs = append(errs, fmt.Errorf("%q is not the id of a message", id))
			continue
		}
		if err := b.fsys.Remove(b.File(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, b.fsys.SyncDir(b.dir))...)
}

// messageID takes the name of a message's file apart.
func messageID(file string) (id string, ok bool) {
	id, ok = strings.CutSuffix(file, suffix)
	if !ok {
		return "", false
	}
	u, err := ulid.ParseStrict(id)
	return id, err == nil && u.String() == id
}

// temporary tells whether a file is a message in the making.
func temporary(file string) bool {
	name, ok := strings.CutSuffix(file, ".tmp")
	if !ok {
		return false
	}
	_, ok = messageID(name)
	return ok
}
