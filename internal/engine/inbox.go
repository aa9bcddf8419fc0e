package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// A clerk takes what other processes hand in: it gives each message to the stage
// that it is for, which records it with its id, and removes the message once that
// is durable. One that nobody can act upon is refused, on record as well. Its
// goroutine owns its fields.
type clerk struct {
	run      *Run
	box      *inbox.Box
	mail     mailbox[filed]
	recorded []filed         // whose messages are to be removed
	given    int             // messages that were given to somebody and are not removed
	more     bool            // others wait for these
	known    map[string]bool // the given, and strays: by the name that Scan asks for
	done     chan struct{}   // closed when the goroutine ends
	stop     context.CancelFunc
}

// filed is what a clerk is told: that there may be messages, if it has none, or
// what became of one.
type filed struct {
	message *inbox.Message
	at      journal.LSN // where it is recorded; zero if err
	err     error       // why it is not
	refused bool        // it was to be refused: at is where that is recorded
}

// A refusal is what the pipeline is asked to record.
type refusal struct {
	evidence.Refused
	told func(at journal.LSN, err error)
}

// refusals are on their way to the pipeline.
type refusals struct {
	mu   sync.Mutex // guards list; never held in a wait
	list []refusal
}

func (r *refusals) take() []refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// mostGiven is how many messages may be on record and not removed yet, about. A
// stage remembers more than that.
const mostGiven = recovery.MaxTaken / 2

// startClerk begins to take messages, if there is an inbox.
func (r *Run) startClerk() {
	if r.c.Inbox == nil {
		r.inboxRead.Store(true)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.clerk = &clerk{
		run: r, box: r.c.Inbox, mail: newMailbox[filed](), known: map[string]bool{}, done: make(chan struct{}), stop: cancel,
	}
	go r.clerk.loop(ctx)
}

// stopClerk ends that. What was not recorded stays in the inbox.
func (r *Run) stopClerk() {
	if c := r.clerk; c != nil {
		c.stop()
		<-c.done
	}
}

func (c *clerk) loop(ctx context.Context) {
	defer close(c.done)
	watch := c.box.Watch()
	var watching sync.WaitGroup
	watching.Go(func() {
		for watch.Wait(ctx) == nil {
			c.mail.post(filed{})
		}
	})
	defer func() {
		watching.Wait()
		if err := watch.Close(); err != nil {
			c.run.log.WarnContext(ctx, "the watch over the inbox did not close", attr("error", err.Error()))
		}
	}()
	c.scan()
	for {
		if c.heed(ctx) || c.more && c.given < mostGiven {
			c.scan()
		}
		select {
		case <-c.mail.wake:
		case <-ctx.Done():
			c.heed(context.WithoutCancel(ctx)) // what the stages recorded last
			return
		}
	}
}

// heed deals with what the clerk was told, and reports whether there may be
// messages.
func (c *clerk) heed(ctx context.Context) (look bool) {
	for f, ok := c.mail.next(); ok; f, ok = c.mail.next() {
		switch {
		case f.message == nil:
			look = true
		case f.err == nil:
			c.recorded = append(c.recorded, f)
		default:
			c.unheard(f)
		}
	}
	c.remove(ctx)
	return look
}

// scan gives new messages to whom they are for: all, unless there are too many at
// once.
func (c *clerk) scan() {
	defer c.read()
	for c.more = true; c.more && c.given < mostGiven; {
		messages, strays, left, err := c.box.Scan(func(name string) bool { return c.known[name] })
		if err != nil {
			c.run.log.Error("the inbox cannot be read: decisions and signals do not arrive", attr("error", err.Error()))
			c.more = false
			return
		}
		c.more = left
		for i := range messages {
			m := &messages[i]
			c.known[m.ID] = true
			c.given++
			c.deliver(m)
		}
		for _, s := range strays {
			c.known[s.Name()] = true
			c.run.log.Warn("this is no message: nobody takes it", attr("file", s.File), attr("error", s.Err.Error()))
		}
	}
}

// read lets the stages know when there is no message that was there before.
func (c *clerk) read() {
	if c.more || c.run.inboxRead.Swap(true) {
		return
	}
	for _, s := range c.run.stages {
		if s.node.Performer != nil {
			s.mail.poke()
		}
	}
}

// deliver gives a message to the stage that it is for.
func (c *clerk) deliver(m *inbox.Message) {
	told := func(at journal.LSN, err error) { c.mail.post(filed{message: m, at: at, err: err}) }
	if m.Signal != nil {
		if err := c.run.signal(m, told); err != nil {
			c.refuse(m, err)
		}
		return
	}
	d := m.Decision
	result, err := c.run.inCodec(d.Result)
	if err != nil {
		c.refuse(m, err)
		return
	}
	err = c.run.Hand(Handed{
		Stage: d.Stage, Input: d.Input, Told: told, Consumed: journal.Consumed{Kind: journal.Decided, ID: journal.FromInbox + m.ID},
		Entries: []plan.Entry{{Type: plan.EntryDecision, Step: d.Step, Outcome: d.Verdict, Result: result, Reason: d.Reason, By: m.By, ID: m.ID, At: m.At}},
	})
	if err != nil {
		told(0, err)
	}
}

// inCodec returns what a person wrote as JSON in the flow's codec; nothing stays
// nothing.
func (r *Run) inCodec(text []byte) (plan.Payload, error) {
	if text == nil {
		return nil, nil
	}
	codec := event.JSON
	if g := r.c.Flow.Graph; g != nil {
		if err := codec.UnmarshalText([]byte(g.Codec())); err != nil {
			return nil, err
		}
	}
	return payload.FromJSON(codec, text)
}

// unheard deals with a message that was not recorded.
func (c *clerk) unheard(f filed) {
	m, log := f.message, c.run.log
	switch {
	case f.refused: // the pipeline has ended
	case errors.Is(f.err, ErrNotOpen):
		c.refuse(m, fmt.Errorf("%w: it is finished, or was never there", f.err))
	case errors.Is(f.err, ErrNotWaiting), errors.Is(f.err, ErrNobodyListens), errors.Is(f.err, journal.ErrTooLarge):
		c.refuse(m, f.err)
	default: // the stage has ended, or the log: the next epoch takes it
		log.Warn("a message could not be recorded: it stays in the inbox", attr("message", m.ID), attr("error", f.err.Error()))
	}
}

// remove removes messages whose records become durable.
func (c *clerk) remove(ctx context.Context) {
	if len(c.recorded) == 0 {
		return
	}
	var last journal.LSN
	var ids []string
	for _, f := range c.recorded {
		last = max(last, f.at)
		ids = append(ids, f.message.ID)
	}
	if err := c.run.c.Log.Await(ctx, last); err != nil {
		return // later, or they stay and the next epoch knows whether they are recorded
	}
	if err := c.box.Remove(ids...); err != nil { // it is tried again with others
		c.run.log.WarnContext(ctx, "a message that was recorded could not be removed", attr("error", err.Error()))
		if c.given >= mostGiven {
			c.run.log.ErrorContext(ctx, "no further messages are taken from the inbox until those that were can be removed")
		}
		return
	}
	c.recorded = c.recorded[:0]
	c.given -= len(ids)
	for _, id := range ids {
		delete(c.known, id)
	}
}

// refuse has the pipeline record that nobody acts upon m.
func (c *clerk) refuse(m *inbox.Message, why error) {
	no := evidence.Refused{ID: m.ID, By: m.By, At: m.At, Reason: why.Error()}
	if d := m.Decision; d != nil {
		no.Stage, no.Input, no.Step, no.Verdict = d.Stage, d.Input.String(), d.Step, d.Verdict
	} else {
		no.Signal, no.Key = m.Signal.Name, m.Signal.Key
	}
	r := c.run
	r.log.Warn("what was handed in is refused", attr("message", m.ID), attr("reason", no.Reason))
	r.refusals.mu.Lock()
	r.refusals.list = append(r.refusals.list, refusal{no, func(at journal.LSN, err error) {
		c.mail.post(filed{message: m, at: at, err: err, refused: true})
	}})
	r.refusals.mu.Unlock()
	r.mail.poke()
}

// signal gives a signal to the stages that take some.
func (r *Run) signal(m *inbox.Message, told func(at journal.LSN, err error)) error {
	text := []byte(m.Signal.Payload)
	if text == nil {
		text = []byte("null") // the zero value of what is awaited
	}
	data, err := r.inCodec(text)
	if err != nil {
		return err
	}
	return r.Signal(plan.Signal{Name: m.Signal.Name, Key: m.Signal.Key, Payload: data, ID: m.ID, At: m.At}, true, told)
}
