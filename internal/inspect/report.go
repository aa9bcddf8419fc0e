package inspect

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir/internal/attest"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// maxFile is how large a key or a report may be.
const maxFile = 64 << 20

func verifyReportFlags(f *pflag.FlagSet, o *options) {
	f.StringVar(&o.key, "key", "", "`file` with the public key that must have signed it")
}

// keygen writes a new pair of keys.
func keygen(c *call) error {
	private, public, err := attest.Generate()
	if err != nil {
		return err
	}
	name := c.path(c.args[0])
	for _, f := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{{name, private, 0o600}, {name + ".pub", public, 0o644}} {
		if err := writeNew(f.name, f.data, f.mode); err != nil {
			return err
		}
	}
	return c.printf("%s\n%s.pub\n", name, name)
}

// writeNew writes a file that must not exist yet.
func writeNew(name string, data []byte, mode os.FileMode) error {
	f, err := vfs.OS.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return usagef("%s exists; give the key another name", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// reported is what verify-report reads of a report; see docs/verify.md.
type reported struct {
	Format  int    `json:"format"`
	Run     string `json:"run"`
	Flow    string `json:"flow"`
	Outcome string `json:"outcome"`
	Found   uint64 `json:"found"`
	At      struct {
		LSN     journal.LSN `json:"lsn"`
		Epoch   uint64      `json:"epoch"`
		EpochID journal.ID  `json:"epoch_id"`
		Chain   string      `json:"chain"`
	} `json:"at"`
	Part struct {
		Stages []string `json:"stages,omitempty"`
		From   string   `json:"from,omitempty"`
		To     string   `json:"to,omitempty"`
	} `json:"part,omitzero"`
	Build struct {
		Recorded string `json:"recorded"`
		Now      string `json:"now"`
	} `json:"build"`
	Verified time.Time `json:"verified"`
}

// reportFormat is the newest version of reports that is understood.
const reportFormat = 1

// verifyReport checks who signed a report, that nobody altered it and, if a run is
// named, that it is the one, and its log still what the report speaks of.
func verifyReport(c *call) error {
	var want ed25519.PublicKey
	if c.key != "" {
		file, err := vfs.ReadFile(vfs.OS, c.path(c.key), maxFile)
		if err != nil {
			return usagef("--key: %w", err)
		}
		if want, err = attest.PublicKey(file); err != nil {
			return usagef("--key %s: %w", c.key, err)
		}
	}
	file, err := vfs.ReadFile(vfs.OS, c.path(c.args[0]), maxFile)
	if err != nil {
		return opaque{err}
	}
	report, by, err := attest.Read(file, want)
	switch {
	case err != nil && report == nil:
		return opaque{fmt.Errorf("%s: %w", c.args[0], err)}
	case errors.Is(err, attest.ErrStranger):
		return fmt.Errorf("%s: %w: %s", c.args[0], err, attest.Name(by))
	case err != nil:
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	var r reported
	if err := json.Unmarshal(report, &r); err != nil || r.Run == "" || r.Outcome == "" {
		return opaque{fmt.Errorf("%s: the signature is good, but this is no report of verify", c.args[0])}
	}
	if r.Format > reportFormat {
		return opaque{fmt.Errorf("%s: the signature is good; the report is of a newer release: format %d, this one knows %d", c.args[0], r.Format, reportFormat)}
	}
	if len(c.args) > 1 {
		if err := c.isAbout(&r, c.args[1]); err != nil {
			return err
		}
	}
	if c.json {
		return c.write(struct {
			Signed  string   `json:"signed_by"`
			Trusted bool     `json:"trusted"` // --key says that it is the right one
			Matched bool     `json:"matched"` // a run was named, and it is what the report is about
			Report  reported `json:"report"`
		}{attest.Name(by), want != nil, len(c.args) > 1, r})
	}
	return c.reportText(&r, by, want != nil)
}

func (c *call) reportText(r *reported, by ed25519.PublicKey, trusted bool) error {
	verdict := fmt.Sprintf("%s %s: %s", r.Flow, r.Run, r.Outcome)
	if r.Found > 0 {
		verdict += ", " + Plural(r.Found, "difference")
	}
	part := "the whole run"
	if p := r.Part; len(p.Stages) > 0 || p.From != "" || p.To != "" {
		part = "a part of it"
		for _, s := range []struct{ word, text string }{{"only ", strings.Join(p.Stages, ", ")}, {"from ", p.From}, {"up to ", p.To}} {
			if s.text != "" {
				part += ", " + s.word + s.text
			}
		}
	}
	lines := []string{
		verdict,
		fmt.Sprintf("%s, up to frame %d of epoch %d", part, r.At.LSN, r.At.Epoch),
		"chain " + firstOf(r.At.Chain, "not computed"),
		fmt.Sprintf("recorded by build %s, executed by %s, %s UTC", r.Build.Recorded, r.Build.Now, stamp(r.Verified)),
		"signed by " + attest.Name(by),
	}
	if !trusted {
		lines = append(lines, "whose key that is this command cannot know; say which it must be with --key")
	}
	if len(c.args) > 1 {
		lines = append(lines, "the run is what the report is about")
	}
	for _, l := range lines {
		if err := c.println(line(l)); err != nil {
			return err
		}
	}
	return nil
}

// isAbout holds a report against a run.
func (c *call) isAbout(r *reported, name string) error {
	dir, err := c.find(name)
	if err != nil {
		return err
	}
	m, err := segment.ReadManifest(vfs.OS, dir)
	if err != nil {
		return opaque{err}
	}
	if m.Run != r.Run {
		return fmt.Errorf("%s is about run %s, and this is run %s", c.args[0], r.Run, m.Run)
	}
	if r.At.Chain == "" {
		return fmt.Errorf("%s does not say which bytes it is about: it has no chain value", c.args[0])
	}
	i := slices.IndexFunc(m.Epochs, func(e journal.Epoch) bool { return e.Number == r.At.Epoch && e.ID == r.At.EpochID })
	if i < 0 {
		return fmt.Errorf("%s is about epoch %d with id %s, which run %s does not have", c.args[0], r.At.Epoch, r.At.EpochID, m.Run)
	}
	found, err := segment.CheckUpTo(vfs.OS, dir, r.At.LSN)
	switch {
	case err != nil:
		return opaque{err}
	case found.ChainAt == "" && len(found.Damage) > 0:
		return fmt.Errorf("run %s is damaged, so it cannot be told whether it is what %s is about: %w", m.Run, c.args[0], found.Damage[0])
	case found.ChainAt == "":
		return fmt.Errorf("run %s ends before frame %d, up to which %s is about it", m.Run, r.At.LSN, c.args[0])
	case found.ChainAt != r.At.Chain:
		return fmt.Errorf("run %s is not what %s is about: its chain value after frame %d is %s, the report says %s", m.Run, c.args[0], r.At.LSN, found.ChainAt, r.At.Chain)
	}
	return nil
}
