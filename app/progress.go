package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/inspect"
	"github.com/weirflow/weir/internal/vfs"
)

// How often progress is shown, while anything changes.
const (
	drawEvery = time.Second
	lineEvery = 10 * time.Second
)

// A progress shows where a run is: on a terminal as a table that is drawn over
// itself, else as a line now and then, and for machines as status.json in the
// run's directory. It wakes up only after something has changed.
type progress struct {
	say    *voice
	screen *screen // nil without a terminal

	changed chan struct{} // stages send without waiting; room for one
	done    chan struct{} // closed by end
	left    chan struct{} // closed by the goroutine
	dirty   atomic.Bool   // a token is in changed or was taken since the last drawing

	once   sync.Once
	run    *weir.Run
	last   map[string]uint64 // what each stage had done at the last drawing
	lastAt time.Time
	lined  time.Time
	warned bool // that status.json cannot be written
}

func newProgress(w io.Writer, say *voice) *progress {
	p := &progress{
		say: say, changed: make(chan struct{}, 1), done: make(chan struct{}), left: make(chan struct{}), last: map[string]uint64{},
	}
	if f, ok := w.(*os.File); ok && say.json == nil {
		p.screen = openScreen(f)
	}
	return p
}

// observer notes that something changed.
func (p *progress) observer() weir.Observer {
	return weir.Observer{
		Transition: func(weir.Transition) { p.note() },
		Paused:     func(error) { p.note() },
	}
}

func (p *progress) note() {
	if p.dirty.CompareAndSwap(false, true) {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}

// begin begins to show r.
func (p *progress) begin(r *weir.Run) {
	p.run, p.lastAt, p.lined = r, time.Now(), time.Now()
	go p.loop()
}

func (p *progress) loop() {
	defer close(p.left)
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-p.done:
			return
		case <-p.changed:
			timer.Reset(drawEvery)
		case <-timer.C:
			p.dirty.Store(false)
			p.show()
		}
	}
}

// end shows the last of it.
func (p *progress) end() {
	p.once.Do(func() { close(p.done) })
	<-p.left
	if p.screen != nil {
		p.screen.clear()
	}
	p.writeStatus(p.run.Progress())
}

func (p *progress) show() {
	at := p.run.Progress()
	now := time.Now()
	since := now.Sub(p.lastAt).Seconds()
	var rows []row
	var in, waiting uint64
	for _, s := range at.Stages {
		moved := max(s.In, s.Out)
		state := s.State
		if s.InDoubt > 0 {
			state = inspect.Count(s.InDoubt) + " in doubt"
		}
		rows = append(rows, row{
			name: s.Name, state: state, in: s.In, out: s.Out, dead: s.Dead, inFlight: s.InFlight,
			rate: float64(moved-min(moved, p.last[s.Name])) / max(since, 0.001),
		})
		p.last[s.Name] = moved
		in, waiting = max(in, s.In), waiting+s.InFlight
	}
	p.lastAt = now
	if p.screen != nil {
		width, _ := p.screen.size()
		p.screen.show(table(fmt.Sprintf("%s · run %s · epoch %d", at.Phase, p.run.ID(), p.run.Epoch()), rows, width))
	} else if now.Sub(p.lined) >= lineEvery {
		p.lined = now
		var dead uint64
		for _, r := range rows {
			dead += r.dead
		}
		p.say.line("%s · %s in · %s in flight · %s", at.Phase, inspect.Count(in), inspect.Count(waiting), inspect.Plural(dead, "dead letter"))
	}
	p.writeStatus(at)
}

// status is status.json.
type status struct {
	Run    string    `json:"run"`
	Epoch  uint64    `json:"epoch"`
	Status string    `json:"status"`
	Phase  string    `json:"phase"`
	At     time.Time `json:"at"`
	Stages []stage   `json:"stages"`
}

type stage struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	In       uint64 `json:"in"`
	Out      uint64 `json:"out"`
	Dead     uint64 `json:"dead"`
	Open     uint64 `json:"open,omitempty"`     // accepted and not finished
	InDoubt  uint64 `json:"in_doubt,omitempty"` // of these, waiting for a decision
	InFlight uint64 `json:"in_flight"`
}

// writeStatus replaces status.json. It is a convenience: if it cannot be written
// the run goes on.
func (p *progress) writeStatus(at weir.Progress) {
	if p.run.Dir() == "" {
		return
	}
	s := status{Run: p.run.ID(), Epoch: p.run.Epoch(), Status: string(p.run.Status()), Phase: at.Phase, At: time.Now().UTC()}
	for _, g := range at.Stages {
		s.Stages = append(s.Stages, stage{g.Name, g.State, g.In, g.Out, g.Dead, g.Open, g.InDoubt, g.InFlight})
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return
	}
	path := filepath.Join(p.run.Dir(), "status.json")
	err = replace(path, append(text, '\n'))
	if err == nil || vfs.IsNoSpace(err) || p.warned {
		return
	}
	p.warned = true
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the directory of the run is gone, and with it what the run has recorded: %s; stop it and start a new run", p.run.Dir())
	}
	p.say.line("warning: %v", err)
}

// replace puts a file in place at once, without making it durable: after a crash
// it may be an older one.
func replace(path string, text []byte) error {
	if err := os.WriteFile(path+".tmp", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
