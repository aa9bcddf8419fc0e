package app

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir"
)

// replay executes a recorded run again into a new one.
func (p *program) replay(args []string) error {
	var deliver bool
	pl, err := p.prepare("replay", args, func(set *pflag.FlagSet) {
		set.BoolVar(&deliver, "deliver", false, "have the sinks deliver what is replayed")
	})
	if err != nil {
		return err
	}
	if len(pl.rest) > 1 {
		return usage("replay takes one run, got %q", pl.rest)
	}
	dir, err := p.recorded(pl)
	if err != nil {
		return err
	}
	say := newVoice(p.stderr, pl.own.LogFormat == "json")
	p.say = say
	o := p.options(pl, say.logger())
	o.Deliver = deliver
	ctx, end := interrupted()
	defer end()
	sum, err := p.def.Replay(ctx, dir, o)
	if _, ok := errors.AsType[*weir.DefinitionError](err); ok {
		return exitError{exitNoStart, err}
	}
	if sum.Run == "" {
		return p.refused(err)
	}
	p.closing(say, sum, err)
	return exitFor(sum, err, pl.own.AllowDead)
}
