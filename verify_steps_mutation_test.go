package weir_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/verify"
	"github.com/weirflow/weir/journal"
)

// computed are the fields of entries that verify computes again, by type.
var computed = map[string][]string{
	plan.EntryIntent:    {"step", "effect", "version", "key", "attempt", "hash", "request/cents", "emitted"},
	plan.EntryAttempt:   {"step", "effect", "version", "key", "attempt", "hash", "request/cents", "emitted"},
	plan.EntryOutcome:   {"step", "effect", "version", "key", "attempt", "hash"},
	plan.EntryCapture:   {"step"},
	plan.EntryWaiting:   {"step", "effect", "key", "at", "emitted"},
	plan.EntryWoken:     {"step", "effect", "key", "id", "result/trip", "at"},
	plan.EntrySignal:    {"effect", "key", "id", "result/trip"},
	plan.EntryChange:    {"step"},
	plan.EntryCompleted: {"reason"},
}

// distort changes one field of an entry; nil if the entry does not have it.
func distort(t *testing.T, payload []byte, typ, field string) []byte {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(payload, &v); err != nil {
		t.Fatal(err)
	}
	path := strings.Split(field, "/")
	switch v[path[0]].(type) {
	case nil:
		return nil
	case string:
		if field == "at" {
			if typ == plan.EntryWoken && v["id"] != nil {
				return nil // when a signal came is given
			}
			v["at"] = "1999-12-31T23:59:59Z"
			text, _ := json.Marshal(v)
			return text
		}
	}
	return twist(payload, path...)
}

// Whatever is changed in what is on record about durable functions, so that all its
// sums are right, is found and named.
func TestEveryMutationOfStepsIsFound(t *testing.T) {
	t.Parallel()
	disk, dir := recordTrips(t, 11, 0)
	was := readStoryOn(t, disk, dir)
	def := trips(11, &agency{}, stepsBuild{})
	check := func(s *story) *verify.Report { return verifyStoryOf(t, def, s) }
	if r := check(was); r.Total != 0 || len(r.Skipped) > 0 {
		t.Fatalf("the story as it was: %d differences, %v: %+v", r.Total, r.Skipped, r.Differences[:min(5, len(r.Differences))])
	}
	counts := map[string]int{}
	records := 0
	for _, p := range was.spots() {
		stage := was.told[p.chapter].Stage
		port := p.journal[strings.LastIndexByte(p.journal, '.')+1:]
		if port == journal.PortSys || stage == "asked" || stage == "given" || stage == evidence.Pipeline {
			continue // given
		}
		if records++; testing.Short() && records%13 > 0 {
			continue
		}
		payload := was.at(p).Payload
		what := []string{""}
		if port == journal.PortFx {
			if what = computed[p.typ]; what == nil {
				t.Errorf("%s:%d is a %s", p.journal, p.seq, p.typ)
			}
		}
		for _, field := range what {
			var changed []byte
			switch {
			case field != "":
				changed = distort(t, payload, p.typ, field)
			case port == evidence.Receipts:
				r, err := evidence.Parse[evidence.Receipt](payload)
				if err != nil {
					t.Fatal(err)
				}
				r.To++
				changed = evidence.Append(nil, r)
			default:
				changed = twist(payload)
			}
			if changed == nil {
				continue
			}
			s := was.clone()
			s.set(p, changed)
			if r := check(s); !noticedOf(r, stage, p, was) {
				t.Errorf("%s:%d: %s was changed from %s to %s, and nobody noticed: %+v", p.journal, p.seq, field, payload, changed, r.Differences)
			}
			counts["changed "+p.typ]++
		}
		s := was.clone()
		s.remove(p)
		if r := check(s); !noticedOf(r, stage, p, was) {
			t.Errorf("%s:%d was removed, and nobody noticed: %s: %+v", p.journal, p.seq, payload, r.Differences)
		}
		s = was.clone()
		s.insert(p, payload)
		if r := check(s); !noticedOf(r, stage, p, was) {
			t.Errorf("behind %s:%d its like was inserted, and nobody noticed: %s: %+v", p.journal, p.seq, payload, r.Differences)
		}
		counts["removed and inserted"]++
	}
	if records < 200 {
		t.Errorf("the run has %d records, want at least 200", records)
	}
	for typ := range computed {
		if counts["changed "+typ] == 0 && !testing.Short() {
			t.Errorf("no %s was changed", typ)
		}
	}
	t.Logf("%d records, mutations %v", records, counts)
}

// noticedOf is noticed, of a record that is about an input: a difference may be told
// where the input comes to its end.
func noticedOf(r *verify.Report, stage string, p spot, s *story) bool {
	if noticed(r, stage, p) {
		return true
	}
	refs := s.at(p).refs
	return len(refs) > 0 && slices.ContainsFunc(r.Differences, func(d verify.Difference) bool {
		return d.Stage == stage && d.Input == fmt.Sprint(refs[0].Journal, ":", refs[0].Seq) && len(d.Fields) > 0 && d.Seq > 0
	})
}

// So is state that is changed, and what a stage has reacted to.
func TestEveryMutationOfStateOfStepsIsFound(t *testing.T) {
	t.Parallel()
	disk, dir := recordTrips(t, 11, 0)
	was := readStoryOn(t, disk, dir)
	def := trips(11, &agency{}, stepsBuild{})
	n, reactions := 0, 0
	for i, c := range was.told {
		for j, changes := range c.states {
			for k := range changes {
				n++
				for what, mutate := range map[string]func(s *story){
					"changed": func(s *story) {
						ch := &s.told[i].states[j][k]
						if ch.Value = twist(ch.Value); ch.Value == nil {
							ch.Value, ch.Deleted = []byte("{}"), false
						}
					},
					"removed": func(s *story) {
						s.told[i].states[j] = slices.Delete(slices.Clone(s.told[i].states[j]), k, k+1)
					},
				} {
					s := was.clone()
					mutate(s)
					found := false
					for _, d := range verifyStoryOf(t, def, s).Differences {
						found = found || d.Stage == c.Stage && d.Journal == c.Stage+"#"+c.State[j].Table && d.Key == string(changes[k].Key) && d.LSN == journal.LSN(i+1)
					}
					if !found {
						t.Errorf("frame %d: the state of %s %s was %s, and nobody noticed", i+1, c.Stage, changes[k].Key, what)
					}
				}
			}
		}
		for j := range c.Consumed {
			switch c.Consumed[j].Kind {
			case journal.Signalled, journal.TimerDue, journal.Decided:
			default:
				continue
			}
			reactions++
			s := was.clone()
			s.told[i].Consumed[j].ID += "x"
			if r := verifyStoryOf(t, def, s); r.Total == 0 || r.Differences[0].Stage != c.Stage || r.Differences[0].LSN != journal.LSN(i+1) {
				t.Errorf("frame %d: %s reacted to %+v, and nobody noticed: %+v", i+1, c.Stage, c.Consumed[j], r.Differences)
			}
		}
	}
	if n < 25 || reactions < 25 {
		t.Errorf("%d changes of state, %d reactions", n, reactions)
	}
	t.Log(fmt.Sprint(n, " changes of state, ", reactions, " reactions"))
}
