package inbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/weirflow/weir/event"
)

// Limits of a message, in bytes. Put refuses more, and so does a scan.
const (
	MaxFile    = 1 << 20   // of the file
	MaxValue   = 768 << 10 // of a result or payload
	MaxText    = 4 << 10   // of a reason or key
	MaxName    = 256       // of everything else
	formatOne  = 1
	kindAnswer = "decision"
	kindSignal = "signal"
)

// A file is a message as it is written.
type file struct {
	Format  int            `json:"format"`
	Kind    string         `json:"kind"`
	At      time.Time      `json:"at"`
	By      string         `json:"by,omitempty"`
	Stage   string         `json:"stage,omitempty"`
	Input   string         `json:"input,omitempty"`
	Step    string         `json:"step,omitempty"`
	Verdict string         `json:"verdict,omitempty"`
	Result  jsontext.Value `json:"result,omitzero"`
	Reason  string         `json:"reason,omitempty"`
	Name    string         `json:"name,omitempty"`
	Key     string         `json:"key,omitempty"`
	Payload jsontext.Value `json:"payload,omitzero"`
}

// encode returns the content of m's file.
func encode(m *Message) ([]byte, error) {
	f := file{Format: formatOne, At: m.At.UTC(), By: m.By}
	switch {
	case (m.Decision == nil) == (m.Signal == nil):
		return nil, errors.New("a message is a decision or a signal")
	case m.Decision != nil:
		d := m.Decision
		f.Kind, f.Stage, f.Input, f.Step = kindAnswer, d.Stage, d.Input.String(), d.Step
		f.Verdict, f.Result, f.Reason = d.Verdict, d.Result, d.Reason
	default:
		s := m.Signal
		f.Kind, f.Name, f.Key, f.Payload = kindSignal, s.Name, s.Key, s.Payload
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(&f)
	if err != nil {
		return nil, fmt.Errorf("the message cannot be written: %w", err)
	}
	if len(data) >= MaxFile {
		return nil, fmt.Errorf("the message has %d bytes, the limit is %d", len(data), MaxFile)
	}
	return append(data, '\n'), nil
}

// Parse reads the content of the message with an id. What it accepts, Put could
// have written.
func Parse(id string, data []byte) (Message, error) {
	if len(data) > MaxFile {
		return Message{}, fmt.Errorf("it has %d bytes, the limit is %d", len(data), MaxFile)
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Message{}, fmt.Errorf("it is not a message: %w", err)
	}
	if head.Format != formatOne {
		return Message{}, fmt.Errorf("its format is %d, this release knows %d: use the release that wrote it", head.Format, formatOne)
	}
	var f file
	if err := json.Unmarshal(data, &f, json.RejectUnknownMembers(true)); err != nil {
		return Message{}, fmt.Errorf("it is not a message: %w", err)
	}
	if err := f.check(); err != nil {
		return Message{}, err
	}
	m := Message{ID: id, At: f.At.UTC(), By: f.By}
	if f.Kind == kindSignal {
		m.Signal = &Signal{Name: f.Name, Key: f.Key, Payload: f.Payload}
		return m, nil
	}
	input, err := event.ParseRecordID(f.Input)
	if err != nil {
		return Message{}, fmt.Errorf("input: %w", err)
	}
	m.Decision = &Decision{Stage: f.Stage, Input: input, Step: f.Step, Verdict: f.Verdict, Result: f.Result, Reason: f.Reason}
	return m, nil
}

// check refuses what is no message of this format.
func (f *file) check() error {
	decision := []text{{"stage", f.Stage, MaxName}, {"input", f.Input, MaxName}, {"verdict", f.Verdict, MaxName}}
	signal := []text{{"name", f.Name, MaxName}}
	switch {
	case f.At.IsZero():
		return errors.New("it does not say when it was handed in")
	case f.At.UTC().Year() < 1970 || f.At.UTC().Year() > 9999:
		return fmt.Errorf("it was handed in in the year %d", f.At.Year())
	case f.Kind == kindAnswer && (f.Name != "" || f.Key != "" || f.Payload != nil):
		return errors.New("a decision has neither name nor key nor payload")
	case f.Kind == kindSignal && (f.Stage != "" || f.Input != "" || f.Step != "" || f.Verdict != "" || f.Result != nil || f.Reason != ""):
		return errors.New("a signal has neither stage nor input nor step nor verdict, result or reason")
	case f.Kind == kindAnswer:
		if err := needed(decision); err != nil {
			return err
		}
		if !slices.Contains(Verdicts, f.Verdict) {
			return fmt.Errorf("its verdict is %s: there are %s", clip(f.Verdict), strings.Join(Verdicts, ", "))
		}
	case f.Kind == kindSignal:
		if err := needed(signal); err != nil {
			return err
		}
	default:
		return fmt.Errorf("its kind is %s: there are %s and %s", clip(f.Kind), kindAnswer, kindSignal)
	}
	for _, t := range []text{{"by", f.By, MaxName}, {"step", f.Step, MaxName}, {"reason", f.Reason, MaxText}, {"key", f.Key, MaxText}} {
		if err := t.check(); err != nil {
			return err
		}
	}
	if err := value("result", f.Result); err != nil {
		return err
	}
	return value("payload", f.Payload)
}

func value(what string, v jsontext.Value) error {
	if len(v) > MaxValue {
		return fmt.Errorf("its %s has %d bytes, the limit is %d", what, len(v), MaxValue)
	}
	if v != nil && !v.IsValid() {
		return fmt.Errorf("its %s is not JSON: %s", what, clip(string(v)))
	}
	return nil
}

type text struct {
	what, is string
	limit    int
}

func needed(texts []text) error {
	for _, t := range texts {
		if t.is == "" {
			return fmt.Errorf("it has no %s", t.what)
		}
		if err := t.check(); err != nil {
			return err
		}
		if strings.ContainsFunc(t.is, unicode.IsControl) {
			return fmt.Errorf("its %s has control characters: %q", t.what, clip(t.is))
		}
	}
	return nil
}

func (t text) check() error {
	switch {
	case len(t.is) > t.limit:
		return fmt.Errorf("its %s has %d bytes, the limit is %d", t.what, len(t.is), t.limit)
	case !utf8.ValidString(t.is):
		return fmt.Errorf("its %s is not UTF-8", t.what)
	}
	return nil
}

// clip shortens what somebody else wrote for a message.
func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
