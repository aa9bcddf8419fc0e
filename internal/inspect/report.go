package inspect

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir/internal/attest"
	"github.com/weirflow/weir/internal/vfs"
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

// reported is what verify-report shows of a report.
type reported struct {
	Run     string `json:"run"`
	Flow    string `json:"flow"`
	Outcome string `json:"outcome"`
	Found   uint64 `json:"found"`
	At      struct {
		LSN   uint64 `json:"lsn"`
		Epoch uint64 `json:"epoch"`
		Chain string `json:"chain"`
	} `json:"at"`
}

// verifyReport checks who signed a report, and that nobody altered it.
func verifyReport(c *call) error {
	var want ed25519.PublicKey
	if c.key != "" {
		file, err := vfs.ReadFile(vfs.OS, c.path(c.key), maxFile)
		if err != nil {
			return err
		}
		if want, err = attest.PublicKey(file); err != nil {
			return usagef("%s: %w", c.key, err)
		}
	}
	file, err := vfs.ReadFile(vfs.OS, c.path(c.args[0]), maxFile)
	if err != nil {
		return err
	}
	report, by, err := attest.Read(file, want)
	if err != nil {
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	var r reported
	if err := json.Unmarshal(report, &r); err != nil {
		return fmt.Errorf("%s: the signature is good, but this is no report of verify: %w", c.args[0], err)
	}
	if c.json {
		return c.write(struct {
			Signed string   `json:"signed_by"`
			Report reported `json:"report"`
		}{attest.Name(by), r})
	}
	lines := []string{
		fmt.Sprintf("%s %s: %s", r.Flow, r.Run, r.Outcome),
		fmt.Sprintf("up to frame %d of epoch %d, chain %s", r.At.LSN, r.At.Epoch, firstOf(r.At.Chain, "not computed")),
		"signed by " + attest.Name(by),
	}
	if want == nil {
		lines = append(lines, "whose key that is this command cannot know; say which it must be with --key")
	}
	for _, l := range lines {
		if err := c.println(l); err != nil {
			return err
		}
	}
	return nil
}
