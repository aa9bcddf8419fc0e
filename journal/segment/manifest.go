package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// maxManifest bounds what is read of one.
const maxManifest = 64 << 20

const (
	sumBefore = ",\n  \"sum\": \""
	sumAfter  = "\"\n}\n"
)

// ReadManifest returns the manifest of the run in dir. The error wraps
// [fs.ErrNotExist] if there is no run, and is a [CorruptError] or a [FormatError]
// if its manifest cannot be trusted or understood.
func ReadManifest(fsys vfs.FS, dir string) (journal.Manifest, error) {
	b, err := vfs.ReadFile(fsys, manifestFile(dir), maxManifest)
	if err != nil {
		return journal.Manifest{}, fmt.Errorf("read manifest of the run: %w", err)
	}
	return parseManifest(b, manifestFile(dir))
}

func parseManifest(b []byte, file string) (journal.Manifest, error) {
	corrupt := func(off int, expected, found string) (journal.Manifest, error) {
		return journal.Manifest{}, &CorruptError{File: file, Offset: int64(off), Expected: expected, Found: found}
	}
	at := len(b) - len(sumBefore) - 2*sha256.Size - len(sumAfter)
	if at < 0 {
		return corrupt(0, "a manifest", fmt.Sprintf("%d bytes", len(b)))
	}
	tail := b[at:]
	if !bytes.HasPrefix(tail, []byte(sumBefore)) || !bytes.HasSuffix(tail, []byte(sumAfter)) {
		return corrupt(at, "the checksum of the manifest at its end", strconv.Quote(string(tail)))
	}
	sum := sha256.Sum256(b[:at])
	if got, want := string(tail[len(sumBefore):len(sumBefore)+2*sha256.Size]), hex.EncodeToString(sum[:]); got != want {
		return corrupt(0, "content with checksum "+strconv.Quote(got), want)
	}
	var m journal.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return corrupt(0, "a manifest in JSON", err.Error())
	}
	if m.Format > journal.FormatVersion {
		return journal.Manifest{}, &FormatError{File: file, Found: fmt.Sprintf("manifest format %d", m.Format)}
	}
	if err := checkManifest(&m); err != nil {
		return corrupt(0, "a manifest that makes sense", err.Error())
	}
	return m, nil
}

// checkManifest checks what the log relies on.
func checkManifest(m *journal.Manifest) error {
	if m.Format < 1 {
		return fmt.Errorf("format %d", m.Format)
	}
	if m.Run == "" || len(m.Run) > maxRunID {
		return fmt.Errorf("a run id of %d bytes", len(m.Run))
	}
	if len(m.Epochs) == 0 {
		return errors.New("no epochs")
	}
	for i, e := range m.Epochs {
		if i == 0 && e.First < 1 || i > 0 && (e.Number <= m.Epochs[i-1].Number || e.First < m.Epochs[i-1].First) {
			return fmt.Errorf("epoch %d from LSN %d out of order", e.Number, e.First)
		}
		if e.Number < 1 || e.Number > 1<<32-1 || e.First > 1<<62 {
			return fmt.Errorf("epoch %d from LSN %d", e.Number, e.First)
		}
		if chain, err := hex.DecodeString(e.Chain); err != nil || len(chain) != sha256.Size {
			return fmt.Errorf("epoch %d with chain value %q", e.Number, e.Chain)
		}
	}
	return nil
}

// encodeManifest returns the file's content.
func encodeManifest(m *journal.Manifest) ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	b = bytes.TrimSuffix(b, []byte("\n}"))
	sum := sha256.Sum256(b)
	b = append(b, sumBefore...)
	b = hex.AppendEncode(b, sum[:])
	return append(b, sumAfter...), nil
}

// writeManifest replaces the manifest, durably.
func writeManifest(fsys vfs.FS, dir string, m *journal.Manifest) error {
	b, err := encodeManifest(m)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, manifestFile(dir), b, filePerm)
}

// enter returns a manifest with the epoch that begins now, with another definition
// unless that is nil.
func (o *Options) enter(m journal.Manifest, at spotValue, cut int64, other *journal.Redefinition) (journal.Manifest, error) {
	e := journal.Epoch{
		Number:  1,
		First:   at.lsn + 1,
		Chain:   hex.EncodeToString(at.chain[:]),
		Cut:     cut,
		Started: o.Now().UTC(),
		Build:   o.Enter.Build,
		Config:  o.Enter.Config,

		Redefined: other,
	}
	if n := len(m.Epochs); n > 0 {
		e.Number = m.Epochs[n-1].Number + 1
	}
	var id [16]byte
	if err := readFull(o.Random, id[:]); err != nil {
		return m, fmt.Errorf("random id of the epoch: %w", err)
	}
	e.ID = id
	if other != nil && o.Enter.Settings != nil {
		m.Settings = o.Enter.Settings
	}
	if e.Config == "" {
		e.Config = m.Fingerprint
	}
	m.Epochs = append(slices.Clip(m.Epochs), e)
	err := checkManifest(&m)
	return m, err
}
