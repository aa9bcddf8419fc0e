package campaign_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// An outcome is what a run left in its log.
type outcome struct {
	run      string
	status   string
	epochs   []journal.Epoch
	ports    map[string][]string // payloads by journal, without those of the engine
	ids      map[string][]string // record ids by journal
	types    map[string]string
	typesOf  map[string][]string  // of each record, by journal
	receipts map[string][]receipt // by stage
	total    evidence.Terminal
	problems []history.Problem
}

// A receipt is one with the epoch that wrote it.
type receipt struct {
	evidence.Receipt
	epoch uint64
}

// newest returns the directory of the newest run of a flow; "" if there is none.
func newest(fsys vfs.FS, flow string) (string, error) {
	entries, err := fsys.ReadDir("/data/" + flow)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range slices.Backward(entries) {
		dir := path.Join("/data", flow, e.Name())
		if _, err := segment.ReadManifest(fsys, dir); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// inspect reads the run in dir, and checks it.
func inspect(ctx context.Context, fsys vfs.FS, dir string) (_ *outcome, err error) {
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	run, err := history.Of(view)
	if err != nil {
		return nil, err
	}
	o, err := outcomeOf(view)
	if err != nil {
		return nil, err
	}
	report, err := run.Check(ctx)
	if err != nil {
		return nil, err
	}
	o.problems = report.Problems
	status, err := run.Status()
	o.status = status.Name
	return o, err
}

// outcomeOf reads a log.
func outcomeOf(log interface {
	Manifest() journal.Manifest
	Read(from journal.LSN) (journal.Reader, error)
},
) (_ *outcome, err error) {
	m := log.Manifest()
	o := &outcome{
		run: m.Run, epochs: m.Epochs, ports: map[string][]string{}, ids: map[string][]string{},
		types: map[string]string{}, typesOf: map[string][]string{}, receipts: map[string][]receipt{},
	}
	epochs := map[uint64][16]byte{}
	for _, e := range m.Epochs {
		epochs[e.Number] = e.ID
	}
	in, err := log.Read(0)
	if err != nil {
		return nil, err
	}
	trs := journal.Transitions(in)
	defer func() { err = errors.Join(err, trs.Close()) }()
	var p journal.Placed
	for {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			return o, nil
		} else if err != nil {
			return nil, err
		}
		for i := range p.Outputs {
			if err := o.add(&p, &p.Outputs[i], epochs[p.Epoch]); err != nil {
				return nil, err
			}
		}
	}
}

func (o *outcome) add(p *journal.Placed, out *journal.Output, epoch [16]byte) error {
	name := p.Stage + "." + out.Port
	changed := slices.ContainsFunc(o.epochs, func(e journal.Epoch) bool { return e.Redefined != nil })
	if known := o.types[name]; !changed && known != "" && known != out.Type && !strings.HasPrefix(known, "weir.") {
		return fmt.Errorf("%s has records of type %s and %s", name, known, out.Type)
	}
	o.types[name] = out.Type
	var rec journal.Record
	seq := out.First
	for rs := journal.NewRecords(out); ; seq++ {
		if _, ok := rs.Next(&rec); !ok {
			return nil
		}
		switch {
		case out.Type == evidence.TypeReceipt:
			r := receipt{epoch: p.Epoch}
			if err := json.Unmarshal(rec.Payload, &r.Receipt); err != nil {
				return err
			}
			o.receipts[p.Stage] = append(o.receipts[p.Stage], r)
		case out.Type == evidence.TypeTerminal && p.Stage == evidence.Pipeline:
			if err := json.Unmarshal(rec.Payload, &o.total); err != nil {
				return err
			}
		case !strings.HasPrefix(out.Type, "weir."):
			o.ports[name] = append(o.ports[name], string(rec.Payload))
			o.typesOf[name] = append(o.typesOf[name], out.Type)
			o.ids[name] = append(o.ids[name], event.RecordID{Epoch: epoch, Journal: name, Seq: seq}.String())
		}
	}
}

// fromMerge is a ref behind a merge: its number depends on what came first.
var fromMerge = regexp.MustCompile(`"ref":"enrich\.out:\d+"`)

// sorted returns the payloads by journal, each in the order of its text.
func (o *outcome) sorted() map[string][]string {
	m := map[string][]string{}
	for name, payloads := range o.ports {
		for _, p := range payloads {
			m[name] = append(m[name], fromMerge.ReplaceAllString(p, `"ref":"enrich.out"`))
		}
		slices.Sort(m[name])
	}
	return m
}

// settled checks that the receipts of a sink cover records 1 to n of a journal
// once.
func (o *outcome) settled(stage, name string, n int) error {
	next := uint64(1)
	for _, r := range o.receipts[stage] {
		if r.Journal != name || r.To == 0 {
			continue
		}
		if r.From != next || r.To < r.From {
			return fmt.Errorf("%s has a receipt for %s:%d to %d after those up to %d", stage, name, r.From, r.To, next-1)
		}
		next = r.To + 1
	}
	if next != uint64(n)+1 {
		return fmt.Errorf("%s has receipts for %d of %d records of %s", stage, next-1, n, name)
	}
	return nil
}

// confirmed returns the epoch of the receipt for a record, 0 if there is none.
func (o *outcome) confirmed(stage, name string, seq uint64) uint64 {
	for _, r := range o.receipts[stage] {
		if r.Journal == name && r.From <= seq && seq <= r.To {
			return r.epoch
		}
	}
	return 0
}

// judge says what is wrong with a completed run of the shop on fsys, in words.
// want is the outcome of a run that nothing happened to.
func (s *shop) judge(o, want *outcome, fsys vfs.FS) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if o.status != evidence.Completed {
		bad("the run is %s", o.status)
	}
	for _, p := range o.problems {
		bad("check: %s", p)
	}
	if diff := cmp.Diff(want.sorted(), o.sorted()); diff != "" {
		bad("journals (-want +got):\n%s", diff)
	}
	for _, name := range []string{"web.out", "web.dead", "store.out", "customers.out", "totals.out"} { // order is promised
		if diff := cmp.Diff(want.ports[name], o.ports[name]); diff != "" {
			bad("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, payloads := range o.ports { // in any order: each is judged by itself
		for _, source := range []string{"w", "s"} { // what comes of one source keeps its order
			last := ""
			for _, p := range payloads {
				_, id, ok := strings.Cut(p, `"id":"`+source)
				if !ok || name == "totals.out" {
					continue
				}
				if id = id[:1]; id < last && name != "web.dead" {
					bad("%s has %s%s after %s%s", name, source, id, source, last)
				}
				last = id
			}
		}
	}
	for stage, name := range map[string]string{ // in any order: each is judged by itself
		"report": "totals.out", "refunds": "validate.refunds", "unknown": "enrich.unmatched",
		"desk": "validate.dead", "book": "enrich.out",
	} {
		if err := o.settled(stage, name, len(o.ports[name])); err != nil {
			bad("%v", err)
		}
	}
	if o.total.In != want.total.In || o.total.Out != want.total.Out || o.total.Dead != want.total.Dead {
		bad("totals are %d in, %d out, %d dead, want %d, %d, %d", o.total.In, o.total.Out, o.total.Dead, want.total.In, want.total.Out, want.total.Dead)
	}
	s.judgeFiles(o, fsys, bad)
	s.judgeDeliveries(o, bad)
	return wrong
}

// judgeFiles compares files with the journals that they were written from.
func (s *shop) judgeFiles(o *outcome, fsys vfs.FS, bad func(string, ...any)) {
	lines := func(name string) string {
		text := ""
		for _, p := range o.ports[name] {
			text += p + "\n"
		}
		return text
	}
	report := "region,sales,cents,worst\n"
	for _, p := range o.ports["totals.out"] {
		var t turnover
		if err := json.Unmarshal([]byte(p), &t); err != nil {
			bad("%v", err)
		}
		report += fmt.Sprintf("%s,%d,%d,%d\n", t.Region, t.Sales, t.Cents, t.Worst)
	}
	for name, want := range map[string]string{ // in any order: each is judged by itself
		"/out/totals.csv":    report,
		"/out/refunds.jsonl": lines("validate.refunds"),
		"/out/unknown.jsonl": "\"old\"\n" + lines("enrich.unmatched"),
	} {
		if diff := cmp.Diff(want, contents(fsys, name)); diff != "" {
			bad("%s (-want +got):\n%s", name, diff)
		}
	}
	entries, err := fsys.ReadDir("/out")
	if err != nil {
		bad("%v", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".part") && strings.Contains(e.Name(), o.run) {
			bad("%s is left", e.Name())
		}
	}
}

// judgeDeliveries compares what the sinks got with what the journals hold.
func (s *shop) judgeDeliveries(o *outcome, bad func(string, ...any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []string
	for _, r := range s.rows {
		rows = append(rows, r.id)
	}
	var want []string
	for _, id := range o.ids["enrich.out"] {
		want = append(want, id+">book")
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		bad("the database (-want +got):\n%s", diff)
	}
	seen := map[string]bool{}
	for _, d := range s.delivered {
		if seen[d.id] && !d.redelivered {
			bad("%s was delivered again and not called a redelivery", d.id)
		}
		seen[d.id] = true
		id, err := event.ParseRecordID(strings.TrimSuffix(d.id, ">desk"))
		if err != nil {
			bad("%v", err)
			continue
		}
		if !slices.Contains(o.ids["validate.dead"], id.String()) {
			bad("%s was delivered and is not in the log", d.id)
		}
		if e := o.confirmed("desk", id.Journal, id.Seq); e < d.epoch {
			bad("%s was delivered in epoch %d and has a receipt of epoch %d", d.id, d.epoch, e)
		}
	}
	for _, id := range o.ids["validate.dead"] {
		if !seen[id+">desk"] {
			bad("%s was not delivered", id)
		}
	}
}
