package inspect

import "github.com/spf13/pflag"

// Commands lists the commands in the order of help.
func Commands() []Command {
	return []Command{
		{Name: "ls", Args: "[FLOW]", Summary: "list runs", max: 1, run: ls},
		{Name: "show", Args: "RUN", Summary: "show how a run stands, stage by stage", min: 1, max: 1, run: show},
		{Name: "records", Args: "RUN STAGE[.PORT]", Summary: "show records", min: 2, max: 2, run: records, flags: recordFlags},
		{Name: "why", Args: "RUN REF", Summary: "show what a record followed from", min: 2, max: 2, run: why, flags: limitFlags},
		{Name: "impact", Args: "RUN REF", Summary: "show what followed from a record", min: 2, max: 2, run: impact, flags: limitFlags},
		{Name: "effects", Args: "RUN", Summary: "show what acts on the world: what is in doubt, parked, waiting, under way", min: 1, max: 1, run: effects, flags: effectFlags},
		{Name: "effects resolve", Args: "RUN REF", Summary: "decide about a call that is in doubt or parked", min: 2, max: 2, run: resolve, flags: resolveFlags},
		{Name: "signal", Args: "RUN NAME KEY [JSON]", Summary: "tell a run that something happened", min: 3, max: 4, run: signal, flags: signalFlags},
		{Name: "redrive", Args: "RUN", Summary: "show what stages gave up on, and which runs process it again", min: 1, max: 1 << 20, run: redrive},
		{Name: "check", Args: "RUN", Summary: "find damage in what a run recorded", min: 1, max: 1, run: check},
		{Name: "verify-report", Args: "FILE [RUN]", Summary: "check the signature of a report of verify, and the run that it is about", min: 1, max: 2, run: verifyReport, flags: verifyReportFlags},
		{Name: "keygen", Args: "FILE", Summary: "make a key to sign reports with", min: 1, max: 1, run: keygen},
		{Name: "graph", Args: "RUN", Summary: "show the stages and edges of a run's flow", min: 1, max: 1, run: graph, flags: graphFlags},
		{Name: "export", Args: "RUN", Summary: "write every record as JSON lines", min: 1, max: 1, run: export, flags: exportFlags},
		{Name: "rm", Args: "RUN …", Summary: "remove runs for good", min: 1, max: 1 << 20, run: rm, flags: rmFlags},
		{Name: "prune", Args: "[FLOW]", Summary: "remove completed runs by age or number", max: 1, run: prune, flags: pruneFlags},
	}
}

func recordFlags(f *pflag.FlagSet, o *options) {
	f.Uint64Var(&o.from, "from", 0, "first `sequence`")
	f.Uint64Var(&o.to, "to", 0, "last `sequence`")
	f.IntVar(&o.limit, "limit", 0, "at most this `many`")
	f.Uint64Var(&o.last, "last", 0, "only the last so `many`")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on as records are written")
}

func limitFlags(f *pflag.FlagSet, o *options) {
	f.IntVar(&o.limit, "limit", 0, "at most this `many` records (200)")
	f.IntVar(&o.depth, "depth", 0, "at most this many `steps` (50)")
	f.IntVar(&o.chain, "chain", 0, "at most this many `changes` of a key (20)")
	f.IntVar(&o.fan, "fan", 0, "at most this many of consecutive `inputs` one by one (3)")
}

func effectFlags(f *pflag.FlagSet, o *options) {
	f.BoolVar(&o.all, "all", false, "every call of the run, also what is over")
	f.StringVar(&o.stage, "stage", "", "only what this `stage` does")
	f.IntVar(&o.limit, "limit", 0, "at most this `many`")
}

func resolveFlags(f *pflag.FlagSet, o *options) {
	f.BoolVar(&o.done, "done", false, "it happened; --result is what came of it")
	f.BoolVar(&o.notDone, "not-done", false, "it did not happen, and cannot any more: it is called again")
	f.BoolVar(&o.retry, "retry", false, "call again, whatever happened")
	f.BoolVar(&o.failed, "failed", false, "give it up; if it is not known whether it happened, it stays so")
	f.BoolVar(&o.goOn, "continue", false, "where code and record differ, go on as the code says")
	f.StringVar(&o.result, "result", "", "the service's answer, as `JSON`")
	f.StringVar(&o.reason, "reason", "", "why, for those who look at it later")
	f.StringVar(&o.by, "by", "", "who says so (USER if empty)")
	f.StringVar(&o.stage, "stage", "", "the `stage`, where several wait for the same input")
}

func signalFlags(f *pflag.FlagSet, o *options) {
	f.StringVar(&o.by, "by", "", "who says so (USER if empty)")
}

func graphFlags(f *pflag.FlagSet, o *options) {
	f.StringVar(&o.format, "format", "text", "text, mermaid, dot or json")
}

func exportFlags(f *pflag.FlagSet, o *options) {
	f.StringVarP(&o.output, "output", "o", "", "write to a new `file`, not to standard output")
}

func rmFlags(f *pflag.FlagSet, o *options) {
	f.BoolVar(&o.force, "force", false, "also runs that are not finished and could be resumed")
}

func pruneFlags(f *pflag.FlagSet, o *options) {
	f.IntVar(&o.keep, "keep", -1, "keep the newest `n` completed runs of each flow")
	f.StringVar(&o.older, "older", "", "only runs older than a `duration` such as 720h or 30d")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be removed, and remove nothing")
}
