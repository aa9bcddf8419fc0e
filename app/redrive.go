package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/topology"
)

// asked is what the flags of redrive ask for.
type asked struct {
	letters weir.Letters
	json    bool
}

func (a *asked) flags(set *pflag.FlagSet) {
	l := &a.letters
	set.Uint64Var(&l.From, "from", 0, "first `sequence`, of STAGE.PORT")
	set.Uint64Var(&l.To, "to", 0, "last `sequence`, of STAGE.PORT")
	set.BoolVar(&l.Again, "again", false, "also what another run has taken: it is done once more")
	set.BoolVar(&l.FreshState, "fresh-state", false, "have stages that remember things begin with nothing: what they put out tells of the redriven inputs alone")
	set.BoolVar(&a.json, "json", false, "of redrive RUN: write JSON")
}

// aboutRedrive is what redrive does, for people.
const aboutRedrive = `Process inputs again that a stage of a recorded run gave up on, with the code as
it is now, in a run of its own. STAGE is its dead letters, and what its effect
failed on if no stage reads that; STAGE.dead or STAGE.failed is one of them; REF
is one letter, such as validate.dead:3. RUN alone shows what there is.

The recorded inputs enter at the stage, and what follows from it follows. Nothing
else is processed, no source is read, and the recorded run stays as it is. Each
letter is taken once; a redrive that was cut short goes on with resume. What
happened is not done again: a recorded result goes to the code as it is now. What
may have happened is asked for with the same key and request, or is in doubt again.

It cannot: bring totals up to date (stages begin with nothing remembered, see
--fresh-state), join again what a row of a table was missing from, repeat an
orchestration of which a step happened, redrive what is in doubt (effects resolve).
Files are written beside those of the recorded run, as NAME.RUN.
`

// redrive processes again what a stage gave up on, or shows what there is.
func (p *program) redrive(args []string) error {
	var ask asked
	pl, err := p.prepare("redrive", args, ask.flags)
	if err != nil {
		return err
	}
	switch {
	case len(pl.rest) == 0:
		return usage("redrive takes a run and what of it: %[1]s redrive RUN shows what it gave up on, %[1]s ls lists runs", p.def.Name())
	case len(pl.rest) == 1:
		look := []string{pl.rest[0], "--data", string(pl.own.Data)}
		if ask.json {
			look = append(look, "--json")
		}
		return p.inspect("redrive", look)
	case ask.json:
		return usage("--json is for redrive RUN, which shows what there is")
	}
	if err := ask.name(pl.rest[1:]); err != nil {
		return err
	}
	if ask.letters.Run, err = p.inData(pl, pl.rest[0]); err != nil {
		return err
	}
	return p.watch(pl, func(o weir.Options) (*weir.Run, error) {
		r, err := p.def.Redrive(context.Background(), ask.letters, o)
		return r, p.notRedriven(err)
	})
}

// name takes what the arguments behind the run name: a stage, or letters.
func (a *asked) name(args []string) error {
	if !strings.Contains(args[0], ":") {
		if len(args) > 1 {
			return usage("redrive takes one stage, or letters such as %s.dead:1; got %q", args[0], args)
		}
		a.letters.Stage = args[0]
		return nil
	}
	for _, text := range args {
		ref, err := event.ParseRef(text)
		if err != nil {
			return usage("%w", err)
		}
		if ref.Port == "" {
			ref.Port = event.PortDead
		}
		a.letters.Refs = append(a.letters.Refs, ref)
	}
	return nil
}

// inData returns the id of the run that name means, which must be in the data
// directory: there it is looked up what others have taken.
func (p *program) inData(pl *plan, name string) (string, error) {
	dir, err := history.Find(string(pl.own.Data), name)
	if err != nil {
		return "", exitError{exitNoStart, err}
	}
	h, err := history.Open(dir)
	if err != nil {
		return "", exitError{exitNoStart, err}
	}
	m := h.Manifest()
	if err := h.Close(); err != nil {
		return "", exitError{exitNoStart, err}
	}
	here, err := filepath.Abs(filepath.Join(string(pl.own.Data), p.def.Name(), m.Run))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	switch {
	case err != nil:
		return "", exitError{exitNoStart, err}
	case m.Flow != p.def.Name():
		return "", exitError{exitNoStart, fmt.Errorf("run %s is of flow %s, this is %s", m.Run, m.Flow, p.def.Name())}
	case dir != here:
		return "", exitError{exitNoStart, fmt.Errorf("run %s is in %s and not in the data directory, where the runs are that take letters: name its with --data", m.Run, dir)}
	}
	return m.Run, nil
}

// notRedriven turns an error of Redrive into an exit code and words.
func (p *program) notRedriven(err error) error {
	var wiring *topology.ValidationError
	switch {
	case err == nil, errors.As(err, &wiring):
		return err
	case errors.Is(err, weir.ErrNoLetters):
		return exitError{exitOK, err}
	case errors.Is(err, weir.ErrNoRecord):
		return exitError{exitUsage, err}
	case errors.Is(err, weir.ErrFreshState):
		return exitError{exitNoStart, fmt.Errorf("%w: --fresh-state if that is wanted", err)}
	}
	return err
}
