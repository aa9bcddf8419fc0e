package inspect

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"unicode/utf8"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

func records(c *call) error {
	if c.last > math.MaxInt32 || c.limit < 0 {
		return usagef("--last and --limit are numbers of records")
	}
	return c.with(func(r *history.Run) error {
		name, err := r.Journal(c.args[1])
		if err != nil {
			return err
		}
		rng := history.Range{From: c.from, To: c.to, Limit: c.limit, Last: int(c.last), Follow: c.follow}
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetEscapeHTML(false)
		for rec, err := range r.Records(c.ctx, name, rng) {
			if err == nil && c.json {
				err = enc.Encode(rec)
			} else if err == nil {
				err = c.println(describe(&rec))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// describe is a record in one line.
func describe(r *history.Record) string {
	at := r.Recorded.UTC().Format("15:04:05.000")
	if !r.Durable {
		at += " (unconfirmed)"
	}
	key := ""
	if r.Key != nil {
		key = "[" + line(string(r.Key)) + "]  "
	}
	return fmt.Sprintf("%s  %s  %s%s", r.Ref, at, key, content(r))
}

// content is a payload as it can be shown; of a dead letter, what went wrong comes
// first.
func content(r *history.Record) string {
	var dead struct {
		Input        json.RawMessage
		Kind, Reason string
	}
	switch {
	case r.Ref.Port == journal.PortDead && json.Unmarshal(r.Payload, &dead) == nil && dead.Kind != "":
		return line(fmt.Sprintf("%s: %s  %s", dead.Kind, dead.Reason, asItCame(r.Type, dead.Input)))
	case r.Blob != "":
		return "blob " + r.Blob
	case utf8.Valid(r.Payload):
		return line(string(r.Payload))
	default:
		return fmt.Sprintf("%s (%d bytes)", hex.EncodeToString(r.Payload[:min(len(r.Payload), 32)]), len(r.Payload))
	}
}

// badInput is the type of a source's dead letters.
const badInput = "Failed[[]uint8]"

// asItCame is the input of a dead letter: the text of a row that a source could
// not accept, which JSON holds in base64, or the payload.
func asItCame(typ string, input json.RawMessage) string {
	var row []byte
	if typ != badInput || json.Unmarshal(input, &row) != nil {
		return string(input)
	}
	return string(row)
}

// ref reads the second argument.
func (c *call) ref(r *history.Run) (event.Ref, error) {
	ref, err := r.Ref(c.args[1])
	var gone *history.NotFoundError
	if err != nil && !errors.As(err, &gone) {
		err = usageError{err}
	}
	return ref, err
}

func export(c *call) error {
	return c.with(func(r *history.Run) (err error) {
		w := c.env.Stdout
		if c.output != "" {
			f, err := vfs.OS.OpenFile(c.path(c.output), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			w = f
		}
		return r.Export(c.ctx, w)
	})
}
