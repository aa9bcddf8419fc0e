package resumption_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/resumption"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// graph makes a graph of lines: "b transform a.out c.out" is a stage b that reads
// these. Every stage but a sink has the port out; words with an equals sign set
// more: port=name, type=name (of out), state=name, key=name, guarantee=…,
// effect=name, param=key:value.
func graph(t testing.TB, lines ...string) *topology.Graph {
	t.Helper()
	var stages []topology.Stage
	var edges []topology.Edge
	typ := func(name string) topology.Type {
		return topology.Type{Name: name, Schema: "schema of " + name, Shape: name}
	}
	for _, line := range lines {
		words := strings.Fields(line)
		s := topology.Stage{Name: words[0], Kind: topology.Kind(words[1])}
		out := typ("T")
		input := 0
		for _, w := range words[2:] {
			key, value, set := strings.Cut(w, "=")
			v := typ(value)
			switch {
			case !set:
				from, port, _ := strings.Cut(w, ".")
				edges = append(edges, topology.Edge{From: from, Port: port, To: s.Name, Input: input})
				if s.Kind == topology.Join {
					input++
				}
			case key == "port":
				s.Ports = append(s.Ports, topology.Port{Name: value, Type: typ("T")})
			case key == "type":
				out = v
			case key == "state":
				s.State = &v
			case key == "key":
				s.Key = &v
			case key == "guarantee":
				s.Guarantee = strings.ReplaceAll(value, "_", " ")
			case key == "effect":
				s.Effects = append(s.Effects, topology.Action{Name: value, Safety: "keyed"})
			case key == "param":
				k, v, _ := strings.Cut(value, ":")
				s.Params = append(s.Params, topology.Param{Key: k, Value: v})
			}
		}
		if s.Kind != topology.Sink {
			s.Ports = append(s.Ports, topology.Port{Name: "out", Type: out})
		}
		if s.Kind == topology.Effect {
			s.Ports = append(s.Ports, topology.Port{Name: "failed", Type: typ("Failed[" + out.Name + "]")})
		}
		stages = append(stages, s)
	}
	g, err := topology.New("f", stages, edges)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// state makes a state of lines: "a out=10 x.out:3 open=2 ended" is a stage that
// wrote 10 records to out, read 3 of x.out, and has two accepted inputs.
func state(t testing.TB, lines ...string) *recovery.State {
	t.Helper()
	st := &recovery.State{Stages: map[string]*recovery.Stage{}}
	for _, line := range lines {
		words := strings.Fields(line)
		s := &recovery.Stage{Name: words[0], Cursors: map[string]journal.Cursor{}, Ports: map[string]recovery.Port{}, NextOpen: 1}
		for _, w := range words[1:] {
			var n uint64
			switch key, value, set := strings.Cut(w, "="); {
			case w == "ended":
				s.Ended = true
			case strings.HasPrefix(w, "at="):
				s.Position = &journal.Position{Value: value}
			case strings.HasPrefix(w, "note="):
				s.Note = value
			case set:
				if _, err := fmt.Sscan(value, &n); err != nil {
					t.Fatal(err)
				}
				if key != "open" && key != "begun" {
					s.Ports[key] = recovery.Port{Count: n}
					continue
				}
				for range n {
					o := recovery.Open{OpenWork: journal.OpenWork{ID: s.NextOpen}, Wrote: 1}
					if key == "begun" {
						o.Updates = [][]byte{{}}
					}
					s.Open = append(s.Open, o)
					s.NextOpen++
				}
			default:
				name, value, _ := strings.Cut(w, ":")
				if _, err := fmt.Sscan(value, &n); err != nil {
					t.Fatal(err)
				}
				s.Cursors[name] = journal.Cursor{Journal: name, Seq: n}
			}
		}
		st.Stages[s.Name] = s
	}
	return st
}

// question asks with what most tests have in common: nothing of another type can
// be read, and the newest epoch wrote everything.
func question(was, now *topology.Graph, st *recovery.State) resumption.Question {
	return resumption.Question{
		Was: was, Now: now, Before: []resumption.Period{{UpTo: 1, Graph: was}}, State: st,
		Reads:  func(resumption.Place, topology.Type) plan.Reading { return plan.Unreadable },
		NameAt: func(stage string, _ uint64) string { return stage },
		Author: func(string, uint64) (uint64, error) { return 1, nil },
	}
}

// said is a plan in lines.
func said(p *resumption.Plan) (lines []string) {
	for _, s := range p.Stages {
		for _, in := range s.Inputs {
			line := fmt.Sprintf("%s %s from %d: %d, %s", s.Name, in.Journal, in.From, in.Records, in.Why)
			if in.Again > 0 {
				line += fmt.Sprintf(", again %d", in.Again)
			}
			if in.Passed > 0 {
				line += fmt.Sprintf(", passed %d", in.Passed)
			}
			lines = append(lines, line)
		}
		for _, n := range s.Notes {
			lines = append(lines, s.Name+": "+n)
		}
	}
	for _, r := range p.Refusals {
		lines = append(lines, "NO "+r.String())
	}
	return lines
}

func TestPlans(t *testing.T) {
	abc := []string{"a source", "b transform a.out", "c effect b.out effect=pay", "d sink c.out"}
	stands := []string{"a out=10 at=p", "b out=8 a.out:8", "c out=4 b.out:5 open=1", "d c.out:4"}
	replace := func(lines []string, with ...string) []string { // lines whose first word is given anew
		out := slices.Clone(lines)
		for _, w := range with {
			name, _, _ := strings.Cut(w, " ")
			i := slices.IndexFunc(out, func(l string) bool { return strings.HasPrefix(l, name+" ") })
			if i < 0 {
				out = append(out, w)
			} else {
				out[i] = w
			}
		}
		return out
	}
	without := func(lines []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, name+" ") })
	}
	for _, tc := range []struct {
		name     string
		was, now []string
		state    []string
		wishes   resumption.Wishes
		rows     map[string]resumption.Rows
		want     []string
	}{
		{
			name: "inserted before an effect", was: abc, state: stands,
			now: replace(abc, "c effect n.out effect=pay", "n transform b.out"),
			want: []string{
				"b a.out from 9: 2, where it stood",
				"n b.out from 6: 3, where c stands",
				"c n.out from 1: 0, nothing is in it yet",
				"d c.out from 5: 0, where it stood",
			},
		},
		{
			name: "two inserted beside one another", was: abc, state: stands,
			now: replace(abc, "c effect n.out m.out effect=pay", "n transform b.out", "m transform b.out"),
			want: []string{
				"b a.out from 9: 2, where it stood",
				"m b.out from 6: 3, where c stands", "n b.out from 6: 3, where c stands",
				"c m.out from 1: 0, nothing is in it yet", "c n.out from 1: 0, nothing is in it yet",
				"d c.out from 5: 0, where it stood",
			},
		},
		{
			name: "a chain inserted into a fan-in", was: []string{"a source", "b source", "m sink a.out b.out"},
			now:   []string{"a source", "b source", "n transform a.out b.out", "o transform n.out", "m sink o.out"},
			state: []string{"a out=10", "b out=20", "m a.out:3 b.out:4"},
			want: []string{
				"n a.out from 4: 7, where m stands", "n b.out from 5: 16, where m stands",
				"o n.out from 1: 0, nothing is in it yet", "m o.out from 1: 0, nothing is in it yet",
			},
		},
		{
			name: "before two readers that stand together", was: []string{"a source", "b sink a.out", "c sink a.out"},
			now:   []string{"a source", "n transform a.out", "b sink n.out", "c sink n.out"},
			state: []string{"a out=10", "b a.out:3", "c a.out:3"},
			want:  []string{"n a.out from 4: 7, where b stands", "b n.out from 1: 0, nothing is in it yet", "c n.out from 1: 0, nothing is in it yet"},
		},
		{
			name: "before two readers that do not", was: []string{"a source", "b sink a.out", "c sink a.out"},
			now:   []string{"a source", "n transform a.out", "b sink n.out", "c sink n.out"},
			state: []string{"a out=10", "b a.out:3", "c a.out:5"},
			want: []string{
				"n a.out from 1: 10, to be said", "b n.out from 1: 0, nothing is in it yet", "c n.out from 1: 0, nothing is in it yet",
				"NO stage n comes before stages that stand at different places on a.out: b before record 4, c before record 6: say where it begins with --start n=now, =begin or =a.out:SEQ",
			},
		},
		{
			name: "before two readers that do not, asked", was: []string{"a source", "b sink a.out", "c sink a.out"},
			now:   []string{"a source", "n transform a.out", "b sink n.out", "c sink n.out"},
			state: []string{"a out=10", "b a.out:3", "c a.out:5"}, wishes: resumption.Wishes{Start: []string{"n=a.out:5"}},
			want: []string{
				"n a.out from 5: 6, as --start says, again 1, passed 1", "b n.out from 1: 0, nothing is in it yet", "c n.out from 1: 0, nothing is in it yet",
			},
		},
		{
			name: "inserted and told otherwise", was: abc, state: stands, wishes: resumption.Wishes{Start: []string{"n=begin"}},
			now: replace(abc, "c effect n.out effect=pay", "n transform b.out"),
			want: []string{
				"b a.out from 9: 2, where it stood", "n b.out from 6: 3, where c stands",
				"c n.out from 1: 0, nothing is in it yet", "d c.out from 5: 0, where it stood",
				"NO stage n takes the place of others and begins where they stand on b.out: leave out --start n=begin, or name the record that it begins with",
			},
		},
		{
			name: "a branch", was: abc, now: append(slices.Clone(abc), "x sink b.out"), state: stands,
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood", "x b.out from 1: 8, to be said",
				"NO stage x begins to read b.out, which has 8 records already: say where it begins with --start x=now, =begin or =b.out:SEQ",
			},
		},
		{
			name: "a branch from now on", was: abc, now: append(slices.Clone(abc), "x sink b.out"), state: stands, wishes: resumption.Wishes{Start: []string{"x=now"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood", "x b.out from 9: 0, as --start says",
			},
		},
		{
			name: "a branch from the beginning", was: abc, now: append(slices.Clone(abc), "x sink b.out"), state: stands, wishes: resumption.Wishes{Start: []string{"x=begin"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood", "x b.out from 1: 8, as --start says",
			},
		},
		{
			name: "a branch from a record", was: abc, now: append(slices.Clone(abc), "x sink b.out"), state: stands, wishes: resumption.Wishes{Start: []string{"x=b:7"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood", "x b.out from 7: 2, as --start says",
			},
		},
		{
			name: "a branch from a record that there is not", was: abc, now: append(slices.Clone(abc), "x sink b.out"), state: stands, wishes: resumption.Wishes{Start: []string{"x=b:10"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood", "x b.out from 1: 8, to be said",
				"NO stage x cannot begin with b:10, which has 8 records: name a record up to b.out:9",
			},
		},
		{
			name: "a branch of what nobody wrote yet", was: abc, now: append(slices.Clone(abc), "x sink c.failed"), state: stands,
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood", "x c.failed from 1: 0, nothing is in it yet",
			},
		},
		{
			name: "a stage taken out that is drained", was: abc, now: replace(without(abc, "b"), "c effect a.out effect=pay"),
			state: replace(stands, "c out=7 b.out:8 open=1"),
			want:  []string{"c a.out from 9: 2, where b stands", "d c.out from 5: 3, where it stood"},
		},
		{
			name: "a stage taken out that is not drained", was: abc, now: replace(without(abc, "b"), "c effect a.out effect=pay"), state: stands,
			want: []string{
				"c a.out from 9: 2, where b stands", "d c.out from 5: 0, where it stood",
				"NO stage c has not read 3 records of b.out, which it does not read any more: resume with the old build and stop it, which drains them, or give them up with --retire b",
			},
		},
		{
			name: "a stage taken out and given up", was: abc, now: replace(without(abc, "b"), "c effect a.out effect=pay"), state: stands, wishes: resumption.Wishes{Retire: []string{"b"}},
			want: []string{
				"c a.out from 9: 2, where b stands", "d c.out from 5: 0, where it stood",
				"b b.out from 6: 3, c does not read it any more: given up, passed 3",
			},
		},
		{
			name: "a stage in the place of another", was: abc, now: replace(without(abc, "b"), "x transform a.out", "c effect x.out effect=pay"),
			state: replace(stands, "c out=7 b.out:8 open=1"),
			want:  []string{"x a.out from 9: 2, where b stands", "c x.out from 1: 0, nothing is in it yet", "d c.out from 5: 3, where it stood"},
		},
		{
			name: "a sink taken out", was: abc, now: without(abc, "d"), state: replace(stands, "d c.out:3 note=n"),
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood",
				"d: what it was writing stays unfinished",
				"NO stage d has not read 1 record of c.out, which it does not read any more: resume with the old build and stop it, which drains them, or give them up with --retire d",
			},
		},
		{
			name: "an effect taken out", was: abc, now: []string{"a source", "b transform a.out", "d sink b.out"}, state: stands,
			want: []string{
				"b a.out from 9: 2, where it stood", "d b.out from 6: 3, where c stands",
				"NO stage c is gone and has 1 accepted input: resume with the old build until they are finished, or give them up with --retire c; if a stage goes on with them under another name, --map NEW=c",
			},
		},
		{
			name: "renamed", was: abc, now: replace(without(abc, "c"), "pay effect b.out effect=pay", "d sink pay.out"), state: stands, wishes: resumption.Wishes{Map: []string{"pay=c"}},
			want: []string{"b a.out from 9: 2, where it stood", "pay b.out from 6: 3, where it stood", "d pay.out from 1: 0, as the one that was c.out"},
		},
		{
			name: "renamed with unread records", was: abc, now: replace(without(abc, "c"), "pay effect b.out effect=pay", "d sink pay.out"),
			state: replace(stands, "d c.out:3"), wishes: resumption.Wishes{Map: []string{"pay=c"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "pay b.out from 6: 3, where it stood", "d pay.out from 1: 0, as the one that was c.out",
				"NO stage d has not read 1 record of c.out, and c is now called pay: resume with the old build and stop it, then resume with this one",
			},
		},
		{
			name: "renamed and something else", was: abc, now: replace(without(abc, "c"), "pay transform b.out", "d sink pay.out"), state: stands, wishes: resumption.Wishes{Map: []string{"pay=c"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "pay b.out from 6: 3, where c stands", "d pay.out from 1: 0, nothing is in it yet",
				"NO stage pay (transform) cannot take the place of c (effect): name a stage that does the same",
				"NO stage c is gone and has 1 accepted input: resume with the old build until they are finished, or give them up with --retire c; if a stage goes on with them under another name, --map NEW=c",
			},
		},
		{
			name: "renamed where nothing is", was: abc, now: abc, state: stands, wishes: resumption.Wishes{Map: []string{"x=b", "b=c", "c=x", "z"}, Retire: []string{"bb"}, Start: []string{"y=now", "b=now", "c=?", "d"}},
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood",
				"NO there is no stage x to take the place of b: leave it out, or did you mean a?",
				"NO stage b cannot take the place of c, which is still there: leave it out, or take c out of the flow",
				"NO there was no stage x whose place c could take: leave it out, or did you mean a?",
				`NO "z" does not say which stage has another's place: write it as --map NEW=OLD`,
				"NO there was no stage bb to retire: leave it out, or did you mean b?",
				"NO there is no stage y to start: leave it out, or did you mean a?",
				`NO --start c=? is not understood: "?" is not a ref: there is no ":" before a sequence number (write it as orders:17 or validate.rejected:3): write now, begin or the first record that it reads`,
				`NO "d" does not say where a stage starts: write it as --start STAGE=now, STAGE=begin or STAGE=orders.out:17`,
				"NO stage b goes on where it stands on all that it reads: leave out --start b=now",
			},
		},
		{
			name: "an end stays one", was: []string{"a source", "b sink a.out"}, now: []string{"a source", "n transform a.out", "b sink n.out"},
			state: []string{"a out=10 ended", "b a.out:10 ended"},
			want:  []string{"n a.out from 11: 0, where b stands", "b n.out from 1: 0, nothing is in it yet"},
		},
		{
			name: "an ended stage gets nothing new", was: []string{"a source", "z source", "b sink a.out"}, now: []string{"a source", "z source", "b sink a.out z.out"},
			state: []string{"a out=10 ended", "z out=0", "b a.out:10 ended"},
			want: []string{
				"b a.out from 11: 0, where it stood", "b z.out from 1: 0, nothing is in it yet",
				"NO stage b has ended for good and cannot read z.out: leave it as it was until the run is completed, or start a new run",
			},
		},
		{
			name: "nor gives anything new", was: []string{"a source", "b transform a.out", "c sink b.out"}, now: []string{"a source", "b transform a.out port=rest", "c sink b.out", "d sink b.rest"},
			state: []string{"a out=10 ended", "b a.out:10 out=10 ended", "c b.out:2"},
			want: []string{
				"b a.out from 11: 0, where it stood", "c b.out from 3: 8, where it stood", "d b.rest from 1: 0, nothing is in it yet",
				"NO stage b has ended for good: nothing will come to its new port rest: leave it as it was until the run is completed, or start a new run",
			},
		},
		{
			name: "a stage that comes again", was: []string{"a source", "c sink a.out"}, now: []string{"a source", "b transform a.out", "c sink b.out"},
			state: []string{"a out=10", "b out=4", "c a.out:6"},
			want:  []string{"b a.out from 7: 4, where c stands", "c b.out from 5: 0, with what is written from now on"},
		},
		{
			name: "state and other inputs", was: []string{"a source", "r stateful a.out state=S"}, now: []string{"a source", "n transform a.out", "r stateful n.out state=S"},
			state: []string{"a out=10", "r a.out:6"}, rows: map[string]resumption.Rows{"r": {Count: 2, Epochs: []uint64{1}}},
			want: []string{
				"n a.out from 7: 4, where r stands", "r n.out from 1: 0, nothing is in it yet",
				"NO stage r has 2 entries of state and would go on with other inputs: n.out: if that is meant, say so with --start r=now",
			},
		},
		{
			name: "state and other inputs, as meant", was: []string{"a source", "r stateful a.out state=S"}, now: []string{"a source", "n transform a.out", "r stateful n.out state=S"},
			state: []string{"a out=10", "r a.out:6"}, rows: map[string]resumption.Rows{"r": {Count: 2, Epochs: []uint64{1}}}, wishes: resumption.Wishes{Start: []string{"r=now"}},
			want: []string{"n a.out from 7: 4, where r stands", "r n.out from 1: 0, nothing is in it yet"},
		},
		{
			name: "without state there is nothing to mix", was: []string{"a source", "r stateful a.out state=S param=emit:end"}, now: []string{"a source", "n transform a.out", "r stateful n.out state=R param=emit:always"},
			state: []string{"a out=10", "r a.out:6"},
			want: []string{
				"n a.out from 7: 4, where r stands", "r n.out from 1: 0, nothing is in it yet",
				"r: parameter emit of stage r was end and is always now",
			},
		},
		{
			name: "another state", was: []string{"a source", "r stateful a.out state=S key=string param=emit:end"}, now: []string{"a source", "r stateful a.out state=R key=int param=emit:always"},
			state: []string{"a out=10", "r a.out:6"}, rows: map[string]resumption.Rows{"r": {Count: 1, Epochs: []uint64{1}}},
			want: []string{
				"r a.out from 7: 4, where it stood",
				"NO parameter emit of stage r was end and is always now, and the stage has 1 entry of state: undo it, or resume with the old build until nothing of it is left, or start a new run",
				"NO stage r has 1 entry of state by string and its key is int now: undo it, or resume with the old build until nothing of it is left, or start a new run",
				`NO state of stage r, 1 entry cannot be read by this code (S → R): give the flow an upcaster: f.Upcast(event.Upcast("S", …))`,
			},
		},
		{
			name: "another kind, another codec", was: []string{"a source", "b transform a.out", "j join a.out b.out"}, now: []string{"a source param=codec:cbor", "b stateful a.out", "j join b.out a.out"},
			state: []string{"a out=10", "b a.out:6 out=1"},
			want: []string{
				"b a.out from 7: 4, where it stood", "j b.out from 1: 1, where it stood", "j a.out from 1: 10, where it stood",
				"NO stage j reads b.out as another side of the join than before: give the stage another name",
				"NO stage j reads a.out as another side of the join than before: give the stage another name",
				"NO parameter codec of stage a was none and is cbor now: a run has one codec: keep the codec until the run is completed, or start a new run",
				"NO stage b was a transform and is a stateful now: give the new stage another name",
			},
		},
		{
			name: "another effect", was: abc, now: replace(abc, "c effect b.out effect=charge"), state: stands,
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood",
				"c: effect pay is gone: accepted inputs that have called it wait for a decision",
				"d c.out from 5: 0, where it stood",
			},
		},
		{
			name: "another payload", was: abc, now: replace(abc, "b transform a.out type=T2", "c effect b.out effect=pay type=T2"), state: replace(stands, "c out=4 b.out:5 begun=1"),
			want: []string{
				"b a.out from 9: 2, where it stood", "c b.out from 6: 3, where it stood", "d c.out from 5: 0, where it stood",
				"NO what stage c has accepted, 1 input, is of another type now (T → T2), and 1 has been sent as a request: resume with the old build and stop it, which finishes them; those in doubt need a decision before (weir effects)",
				`NO 3 records of b.out that stage c has not read cannot be read by this code (T → T2): give the flow an upcaster: f.Upcast(event.Upcast("T", …))`,
			},
		},
		{
			name: "marks have a name", was: []string{"a source", "s sink a.out guarantee=exactly_once"}, now: []string{"a source", "t sink a.out guarantee=exactly_once"},
			state: []string{"a out=10", "s a.out:9"}, wishes: resumption.Wishes{Map: []string{"t=s"}},
			want: []string{
				"t a.out from 10: 1, where it stood",
				"NO sink t stores how far it got under the name s, and 1 record may be on the way: resume with the old build and stop it, then resume with this one",
			},
		},
		{
			name: "a source taken out", was: []string{"a source", "z source", "s sink a.out z.out"}, now: []string{"a source", "s sink a.out"},
			state: []string{"a out=10", "z out=3 at=p", "s a.out:9 z.out:3"},
			want:  []string{"s a.out from 10: 1, where it stood", "z: its position is kept, should a source of this name come again"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := question(graph(t, tc.was...), graph(t, tc.now...), state(t, tc.state...))
			q.Wishes, q.Rows = tc.wishes, tc.rows
			p, err := resumption.Make(q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, said(p)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
