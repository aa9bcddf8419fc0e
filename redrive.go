package weir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/redrive"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/topology"
)

// Letters say what [Definition.Redrive] processes again: inputs that a stage of a
// recorded run gave up on.
type Letters struct {
	// Run is the id of the run in the data directory. It may be under way.
	Run string
	// Stage is the stage that gave them up: with a port, "validate.dead" or
	// "authorize.failed", what is there; without one its dead letters, and what its
	// effect failed on if no stage reads that.
	Stage string
	// From and To are the first and the last sequence, of one port. Zero means the
	// beginning and the end.
	From, To uint64
	// Refs are single letters, such as validate.dead:3, all of one stage; then Stage,
	// From and To are empty.
	Refs []event.Ref

	// Again takes letters that another run has taken, too.
	Again bool
	// FreshState lets stages that remember what came before begin with nothing.
	FreshState bool
}

// Why there is nothing to redrive.
var (
	// ErrNoLetters says that none of the letters that are asked for is left.
	ErrNoLetters = errors.New("there is nothing to redrive")
	// ErrFreshState says that stages would begin with nothing remembered, without
	// Letters.FreshState.
	ErrFreshState = errors.New("a redrive begins with nothing remembered")
)

// Redrive processes letters of a recorded run again, by the code as it is now, in a
// new run under o.Dir that names the recorded one. The recorded inputs enter at the
// stage that gave them up, and what follows from it follows. Nothing else is
// processed, no source is read, and the recorded run stays as it is.
//
// A letter is taken once: the new run's manifest says which it takes, and they are
// left out when others are redriven, whatever has become of that run. If it is cut
// short, go on with it (Options.Run). The flow is built with the settings that the
// recorded run began with, but for those from the command line.
//
// The outside knows what enters as it did before: an effect of the stage has the keys
// of the first attempt, a sink the same ids. An action that happened is not done
// again, the recorded result goes to the code as it is now. One that may have
// happened goes on from its record: with the same key and the same request if the
// effect has a key; in doubt, until somebody decides, if it is [effect.AtMostOnce].
// What follows in other stages is new.
//
// Joins see their tables as the recorded run had them. Stages that remember what came
// before begin with nothing, so that what they put out tells of the redriven inputs
// alone; that is refused without Letters.FreshState. Sinks that write files write
// beside those of the recorded run: "<path>.<run>".
//
// Errors, besides those of [Definition.Start]: [ErrNoLetters], [ErrFreshState],
// [ErrNoRecord] for letters that there are not, and others that say why a letter that
// is named cannot be redriven: an orchestration of which a step happened, a row of a
// table, a row of a source that cannot read one by itself, an input that the code
// cannot read any more. If none is named, those are left out and logged.
func (d *Definition) Redrive(ctx context.Context, l Letters, o Options) (*Run, error) {
	if o.Harness == nil {
		o.Harness = &plan.Harness{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	p, err := d.prepareRedrive(l, o)
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	return d.begin(ctx, p, o)
}

// prepareRedrive finds the letters and makes the run that takes them.
func (d *Definition) prepareRedrive(l Letters, o Options) (*prepared, error) {
	if o.Dir == "" || l.Run == "" {
		return nil, errors.New("a redrive needs a recorded run: set Options.Dir and Letters.Run")
	}
	o.RequireDir = true
	s, err := openStore(o, d.name)
	if err != nil {
		return nil, err
	}
	view, err := s.origin(l.Run)
	if err != nil {
		return nil, err
	}
	defer func() { _ = view.Close() }() // it was only read
	was := view.Manifest()
	if was.Baseline != "" {
		return nil, fmt.Errorf("%w: %s replays %s, and has no letters of its own: redrive that run", ErrNoRun, l.Run, was.Baseline)
	}
	c := &chooser{ask: l, view: view, skipped: map[string]uint64{}}
	if c.origin, err = redrive.OpenOrigin(view); err != nil {
		return nil, err
	}
	if err := c.parse(); err != nil {
		return nil, err
	}
	again := &journal.Redrive{Run: was.Run, Stage: c.stage}
	b, err := d.rebuild(&was, again, o.Config, o)
	if err != nil {
		return nil, err
	}
	if err := c.suits(b); err != nil {
		return nil, err
	}
	// From here on nobody else takes letters of the flow's runs.
	lock, err := s.fsys.Lock(filepath.Join(s.runs, "redrive.lock"), "")
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("another redrive of the flow is about to begin: try again: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()
	manifests, err := s.manifests()
	if err != nil {
		return nil, err
	}
	c.taken = redrive.TakenFrom(was.Run, manifests)
	if again.Taken, err = c.choose(); err != nil {
		return nil, err
	}
	if fresh := c.narrow.Fresh; len(fresh) > 0 && !l.FreshState {
		return nil, fmt.Errorf("%w: %s would put out what follows from the redriven inputs alone, as if nothing had come before", ErrFreshState, strings.Join(fresh, ", "))
	}
	m := b.manifest(d.name)
	m.Redrive = again
	p, err := d.create(s, b, m, o)
	if err != nil {
		return nil, err
	}
	c.tell(o.Logger, p)
	return p, nil
}

// origin opens a run to read it.
func (s *store) origin(run string) (*segment.View, error) {
	view, err := segment.OpenView(s.fsys, filepath.Join(s.runs, run))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not in %s", ErrNoRun, run, s.runs)
	}
	return view, err
}

// opener opens the run that again takes letters from.
func (d *Definition) opener(again *journal.Redrive, o Options) redrive.Opener {
	o.RequireDir = true
	return func() (*redrive.Origin, func() error, error) {
		if o.Dir == "" {
			return nil, nil, fmt.Errorf("run %s is not read: there is no data directory", again.Run)
		}
		s, err := openStore(o, d.name)
		if err != nil {
			return nil, nil, err
		}
		view, err := s.origin(again.Run)
		if errors.Is(err, ErrNoRun) {
			return nil, nil, fmt.Errorf("run %s, whose letters are redriven, is not in %s any more: put it back to go on", again.Run, s.runs)
		}
		if err != nil {
			return nil, nil, err
		}
		origin, err := redrive.OpenOrigin(view)
		if err != nil {
			return nil, nil, errors.Join(err, view.Close())
		}
		return origin, view.Close, nil
	}
}

// manifests returns those of all runs of the flow.
func (s *store) manifests() (all []journal.Manifest, err error) {
	entries, err := s.fsys.ReadDir(s.runs)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	for _, e := range entries {
		if _, err := ulid.ParseStrict(e.Name()); err != nil || !e.IsDir() {
			continue
		}
		switch m, err := segment.ReadManifest(s.fsys, filepath.Join(s.runs, e.Name())); {
		case err == nil:
			all = append(all, m)
		case !errors.Is(err, fs.ErrNotExist): // else its making was cut short
			return nil, fmt.Errorf("whether run %s takes letters: %w", e.Name(), err)
		}
	}
	return all, nil
}

// A chooser decides which letters are redriven.
type chooser struct {
	ask      Letters
	view     *segment.View
	origin   *redrive.Origin
	stage    string
	journals []string                   // to look in
	named    map[string]map[uint64]bool // single letters by journal; nil if none are named
	narrow   *redrive.Narrow
	taken    redrive.Taken

	chosen  redrive.Picker
	skipped map[string]uint64 // letters by the run that has taken them
	unfit   []string          // letters that cannot be redriven, with why
}

// parse reads what is asked for.
func (c *chooser) parse() error {
	text, port := c.ask.Stage, ""
	if len(c.ask.Refs) > 0 {
		if text != "" || c.ask.From+c.ask.To != 0 {
			return errors.New("single letters are named by Letters.Refs alone")
		}
		text = c.ask.Refs[0].Stage
	}
	c.stage = text
	if i := strings.LastIndexByte(text, '.'); i >= 0 {
		c.stage, port = text[:i], text[i+1:]
	}
	g := c.origin.Graph()
	stage, ok := g.Stage(c.stage)
	if !ok {
		return fmt.Errorf("%w: run %s has no stage %q%s", ErrNoRecord, c.origin.Run(), c.stage, hint(c.stage, g.Order()))
	}
	_, fails := stage.Port(plan.PortFailed)
	fails = fails && stage.Kind == topology.Effect
	holds := func(port string) bool { return port == event.PortDead || port == plan.PortFailed && fails }
	switch {
	case len(c.ask.Refs) > 0:
		return c.name(holds)
	case port == "":
		c.journals = []string{c.stage + "." + event.PortDead}
		if fails && len(g.Readers(c.stage, plan.PortFailed)) == 0 {
			c.journals = append(c.journals, c.stage+"."+plan.PortFailed)
		}
	case holds(port):
		c.journals = []string{text}
	default:
		return fmt.Errorf("%w: %s does not hold what %s gave up on; that is in %s", ErrNoRecord, text, c.stage, c.held(fails))
	}
	if c.ask.From+c.ask.To != 0 && len(c.journals) > 1 {
		return fmt.Errorf("%s has letters in %s: say in which of them From and To count", c.stage, strings.Join(c.journals, " and "))
	}
	return nil
}

func (c *chooser) held(fails bool) string {
	if fails {
		return c.stage + "." + event.PortDead + " and " + c.stage + "." + plan.PortFailed
	}
	return c.stage + "." + event.PortDead
}

// name notes single letters.
func (c *chooser) name(holds func(port string) bool) error {
	c.named = map[string]map[uint64]bool{}
	for _, ref := range c.ask.Refs {
		switch {
		case ref.Stage != c.stage:
			return fmt.Errorf("letters of %s and of %s: a redrive is of one stage", c.stage, ref.Stage)
		case !holds(ref.Port):
			return fmt.Errorf("%w: %s is nothing that %s gave up on: those are in %s.%s", ErrNoRecord, ref, c.stage, c.stage, event.PortDead)
		}
		name := ref.Journal()
		if c.named[name] == nil {
			c.named[name] = map[uint64]bool{}
			c.journals = append(c.journals, name)
		}
		c.named[name][ref.Seq] = true
	}
	slices.Sort(c.journals)
	return nil
}

// suits checks what concerns the flow as a whole.
func (c *chooser) suits(b *built) error {
	c.narrow = b.narrow
	if now, was := b.flow.Graph.Codec(), c.origin.Graph().Codec(); now != was {
		return fmt.Errorf("run %s is recorded in %s, this flow in %s: it cannot read the other's payloads", c.origin.Run(), was, now)
	}
	if len(c.narrow.Tables) == 0 {
		return nil
	}
	state, err := recovery.ReadInto(c.view, func(string, string) (recovery.Table, error) { return nil, nil })
	if err != nil {
		return fmt.Errorf("run %s: %w", c.origin.Run(), err)
	}
	for _, name := range c.narrow.Tables {
		stage, port := splitJournal(name)
		if at := state.Stages[stage]; at == nil || at.Ports[port].End != journal.Natural {
			return fmt.Errorf("a table is made of %s, and run %s does not have all of it: go on with that run first", name, c.origin.Run())
		}
	}
	return nil
}

// choose reads the letters that are asked for and returns those to take.
func (c *chooser) choose() ([]journal.Letters, error) {
	from, to := max(c.ask.From, 1), cmp.Or(c.ask.To, ^uint64(0))
	var facts *redrive.Facts
	if s, _ := c.origin.Graph().Stage(c.stage); s.Kind == topology.Effect {
		all := make([]journal.Letters, len(c.journals))
		for i, name := range c.journals {
			all[i] = journal.Letters{Journal: name, From: from, To: to}
		}
		var err error
		if facts, err = c.origin.Facts(c.stage, all); err != nil {
			return nil, err
		}
	}
	for _, name := range c.journals {
		err := c.origin.Letters(name, from, to, func(l *redrive.Letter) error { return c.consider(l, facts) })
		if err != nil {
			return nil, err
		}
		if missing := slices.Sorted(maps.Keys(c.named[name])); len(missing) > 0 {
			return nil, fmt.Errorf("%w: run %s has no %s:%d", ErrNoRecord, c.origin.Run(), name, missing[0])
		}
	}
	if chosen := c.chosen.Letters(); len(chosen) > 0 {
		return chosen, nil
	}
	return nil, c.nothing()
}

// consider takes a letter, or leaves it out.
func (c *chooser) consider(l *redrive.Letter, facts *redrive.Facts) error {
	name := l.Ref.Journal()
	if c.named != nil {
		if !c.named[name][l.Ref.Seq] {
			return nil
		}
		delete(c.named[name], l.Ref.Seq)
	}
	if by := c.taken.By(name, l.Ref.Seq); len(by) > 0 && !c.ask.Again {
		if c.named != nil {
			return fmt.Errorf("%s was redriven by run %s: Letters.Again does it once more", l.Ref, strings.Join(by, ", "))
		}
		c.skipped[by[0]]++
		return nil
	}
	why, err := c.unfitness(l, facts)
	if err != nil {
		return err
	}
	if why == "" {
		c.chosen.Add(name, l.Ref.Seq)
		return nil
	}
	if c.named != nil {
		return fmt.Errorf("%s cannot be redriven: %s", l.Ref, why)
	}
	c.unfit = append(c.unfit, fmt.Sprintf("%s: %s", l.Ref, why))
	return nil
}

// unfitness says why a letter cannot be redriven, "" if it can.
func (c *chooser) unfitness(l *redrive.Letter, facts *redrive.Facts) (string, error) {
	if rows := c.narrow.Rows; rows != nil {
		switch err := rows.Rereads(l.Kind); {
		case err != nil:
			return err.Error(), nil //nolint:nilerr // it is the answer
		case l.Kind == event.KindTooLarge:
			return "of a row that is too large only the beginning is on record", nil
		case len(l.Row) == 0:
			return "the row is not on record", nil
		}
		return "", nil
	}
	s, _ := c.origin.Graph().Stage(c.stage)
	for _, e := range c.origin.Graph().Inputs(c.stage) {
		if s.Kind == topology.Join && e.Input > 0 && e.Journal() == l.Input.Journal() {
			return "it is a row of a table, and what was joined without it would have to be processed again, too", nil
		}
	}
	r, err := c.origin.Record(l.Input)
	switch {
	case errors.Is(err, redrive.ErrGone), errors.Is(err, journal.ErrTrimmed):
		return fmt.Sprintf("its input %s is not on record any more", l.Input), nil
	case err != nil:
		return "", err
	}
	if err := r.Readable(c.narrow.In); err != nil {
		return fmt.Sprintf("this code cannot read its input: %v", err), nil
	}
	if facts == nil {
		return "", nil
	}
	history, _, err := facts.About(l.Input)
	if err != nil {
		return "", err
	}
	if step, may := perform.MayHaveHappened(history); may && c.narrow.At.Performing.Past == nil {
		what := "the call"
		if step != "" {
			what = "step " + step
		}
		return what + " happened, or may have, and would be made again", nil
	}
	return "", nil
}

// nothing says why no letter is left.
func (c *chooser) nothing() error {
	var why []string
	for _, run := range slices.Sorted(maps.Keys(c.skipped)) {
		why = append(why, fmt.Sprintf("run %s takes %d of them", run, c.skipped[run]))
	}
	why = append(why, c.unfit[:min(len(c.unfit), maxUnfit)]...)
	if len(why) == 0 {
		why = append(why, fmt.Sprintf("run %s has nothing in %s", c.origin.Run(), strings.Join(c.journals, " and ")))
	}
	return fmt.Errorf("%w: %s", ErrNoLetters, strings.Join(why, "; "))
}

// maxUnfit is how many letters that cannot be redriven are told one by one.
const maxUnfit = 10

// tell says what the run will not do.
func (c *chooser) tell(log *slog.Logger, p *prepared) {
	for _, run := range slices.Sorted(maps.Keys(c.skipped)) {
		log.Info("letters are left out that another run takes", slog.Uint64("letters", c.skipped[run]), slog.String("run", run))
	}
	for _, text := range c.unfit[:min(len(c.unfit), maxUnfit)] {
		log.Warn("a letter cannot be redriven", slog.String("error", text))
	}
	if more := len(c.unfit) - maxUnfit; more > 0 {
		log.Warn("more letters cannot be redriven", slog.Int("letters", more))
	}
	if fresh := c.narrow.Fresh; len(fresh) > 0 {
		log.Warn("what these stages put out tells of the redriven inputs alone", slog.String("stages", strings.Join(fresh, ", ")), slog.String("run", p.manifest.Run))
	}
}
