package app

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weirflow/weir/internal/inspect"
)

// usage shows how a command is called. That of the program, which is what run
// without its name is, lists the commands, too.
func (p *program) usage(command, flags string) {
	switch {
	case command == "run" && !p.named:
		p.help()
		fmt.Fprintf(p.stdout, "\nFlags of run:\n\n%s", flags)
	case command == "resume":
		fmt.Fprintf(p.stdout, "usage: %[1]s resume RUN [flags]\n       %[1]s resume [RUN] --plan [flags]\n\n%[2]s", p.def.Name(), flags)
	case command == "redrive":
		fmt.Fprintf(p.stdout, "usage: %[1]s redrive RUN [STAGE[.PORT] | REF …] [flags]\n\n%[2]s\n%[3]s", p.def.Name(), aboutRedrive, flags)
	case command == "verify", command == "replay":
		fmt.Fprintf(p.stdout, "usage: %s %s [RUN] [flags]\n\n%s", p.def.Name(), command, flags)
	default:
		fmt.Fprintf(p.stdout, "usage: %s %s [flags]\n\n%s", p.def.Name(), command, flags)
	}
}

// help lists the commands.
func (p *program) help() {
	fmt.Fprintf(p.stdout, `usage: %[1]s [COMMAND] …

  run       run the flow, or go on with its newest run if that is unfinished; the default
  resume    go on with a given run, or with --plan say where each stage would start
  replay    execute a run again, without the outside world, into a new one
  redrive   process again what a stage of a run gave up on, with the code as it is now
  verify    execute a run again, without the outside world, and compare
  config    show every setting and where its value comes from
  graph     draw the flow as it is written, or of a given run

Commands that look at runs:

`, p.def.Name())
	inspect.Help(p.stdout, p.def.Name(), "redrive")
}

// graph draws the flow as it is written; of a run, it is an inspection.
func (p *program) graph(args []string) error {
	set := pflag.NewFlagSet("graph", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	format := set.String("format", "text", "text, mermaid, dot or json")
	asJSON := set.Bool("json", false, "as --format json")
	set.String("data", "", "data `directory`, of a run")
	help := set.BoolP("help", "h", false, "show this and end")
	if err := set.Parse(args); err != nil {
		return usage("graph: %w%s", err, hintFlag(err, set))
	}
	switch {
	case *help:
		fmt.Fprintf(p.stdout, "usage: %s graph [RUN] [flags]\n\n%s", p.def.Name(), inspect.Flags(set))
		return nil
	case set.NArg() > 0:
		return p.inspect("graph", args)
	case *asJSON:
		*format = "json"
	}
	g, err := p.def.Graph(nil)
	if err != nil {
		return exitError{exitUsage, err}
	}
	var text string
	switch *format {
	case "text":
		text = g.Text()
	case "mermaid":
		text = g.Mermaid()
	case "dot":
		text = g.DOT()
	case "json":
		b, err := g.MarshalJSON()
		if err != nil {
			return err
		}
		text = string(b) + "\n"
	default:
		return usage("graph: there is no format %q%s", *format, hint(*format, strings.Fields("text mermaid dot json")))
	}
	_, err = io.WriteString(p.stdout, text)
	return err
}

// commandNames lists every command.
func commandNames() []string {
	names := []string{"run", "resume", "replay", "redrive", "verify", "config", "graph", "help"}
	for _, c := range inspect.Commands() {
		if c.Name != "graph" && c.Name != "redrive" {
			names = append(names, c.Name)
		}
	}
	return names
}
