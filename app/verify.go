package app

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/attest"
	"github.com/weirflow/weir/topology"
)

// Exit codes of verify.
const (
	exitDifferent    = 1
	exitInconclusive = 3
	exitRefused      = 4
)

// verification is what the flags of verify ask for.
type verification struct {
	stages   []string
	from, to string
	max      int
	report   string
	sign     string
	json     bool
}

func (v *verification) flags(set *pflag.FlagSet) {
	set.StringArrayVar(&v.stages, "stage", nil, "execute only this `stage` again; may be given several times")
	set.StringVar(&v.from, "from", "", "begin where this `record` was written, such as orders:17")
	set.StringVar(&v.to, "to", "", "end where this `record` was written")
	set.IntVar(&v.max, "max-differences", 100, "list at most this `many`; all are counted")
	set.StringVar(&v.report, "report", "", "write a report to this new `file`")
	set.StringVar(&v.sign, "sign", "", "sign the report with the private key in this `file`")
	set.BoolVar(&v.json, "json", false, "write the verdict as JSON")
}

// verify executes a run again and compares.
func (p *program) verify(args []string) error {
	var ask verification
	pl, err := p.prepare("verify", args, ask.flags)
	if err != nil {
		return err
	}
	var key ed25519.PrivateKey
	switch {
	case len(pl.rest) > 1:
		return usage("verify takes one run, got %q", pl.rest)
	case ask.max < 1:
		return usage("--max-differences is %d; list at least 1", ask.max)
	case ask.sign != "" && ask.report == "":
		return usage("--sign signs the report: say with --report where to write it")
	case ask.sign != "":
		if key, err = signingKey(ask.sign); err != nil {
			return err
		}
	}
	if ask.report != "" {
		if _, err := os.Lstat(ask.report); err == nil {
			return usage("%s exists; give the report another name", ask.report)
		}
	}
	dir, err := p.recorded(pl)
	if err != nil {
		return err
	}
	p.say = newVoice(p.stderr, pl.own.LogFormat == "json")
	ctx, end := interrupted()
	defer end()
	v, err := p.def.Verify(ctx, dir, weir.VerifyOptions{
		Stages: ask.stages, From: ask.from, To: ask.to, MaxDifferences: ask.max, Chain: ask.report != "",
		Config: pl.config, Sources: pl.sources, Logger: p.say.logger(),
	})
	var wiring *topology.ValidationError
	switch {
	case errors.As(err, &wiring), errors.Is(err, weir.ErrNoRecord):
		return exitError{exitUsage, err}
	case err != nil:
		return exitError{exitRefused, err}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return exitError{exitRefused, fmt.Errorf("write the verdict: %w", err)}
	}
	if ask.report != "" {
		if err := writeReport(ask.report, text, key); err != nil {
			return exitError{exitRefused, err}
		}
	}
	if ask.json {
		fmt.Fprintf(p.stdout, "%s\n", text)
	} else {
		p.verdict(v)
	}
	switch v.Outcome {
	case weir.Different:
		return exitError{code: exitDifferent}
	case weir.Inconclusive:
		return exitError{code: exitInconclusive}
	case weir.Identical:
	}
	return nil
}

func signingKey(name string) (ed25519.PrivateKey, error) {
	file, err := os.ReadFile(name)
	if err != nil {
		return nil, exitError{exitUsage, fmt.Errorf("--sign: %w", err)}
	}
	key, err := attest.PrivateKey(file)
	if err != nil {
		return nil, exitError{exitUsage, fmt.Errorf("--sign %s: %w", name, err)}
	}
	return key, nil
}

// writeReport puts the report in place whole, or not at all.
func writeReport(name string, report []byte, key ed25519.PrivateKey) error {
	text, err := attest.Write(report, key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".report-*")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), name) // which does not replace a file
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// recorded finds the directory of the run that is named: the flow's newest if
// none is.
func (p *program) recorded(pl *plan) (string, error) {
	name := p.def.Name()
	if len(pl.rest) == 1 {
		name = pl.rest[0]
	}
	dir, err := history.Find(string(pl.own.Data), name)
	if err == nil {
		return dir, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", exitError{exitRefused, err}
	}
	return "", exitError{exitRefused, fmt.Errorf("%w; %s ls lists the runs", err, program0())}
}
