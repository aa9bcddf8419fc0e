package app

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/journal"
)

// own is what can be set of Weir itself. The names of flags, variables
// (WEIR_DATA …) and keys of the file follow from the fields.
type own struct {
	Data            directory  `help:"data directory"`
	RequireData     bool       `help:"refuse to create the data directory"`
	Sync            syncMode   `help:"when a record is durable: group, always, none, or a duration between syncs"`
	SegmentSize     byteSize   `help:"size of a log segment, such as 4MiB; 0 grows from 1 MiB to 64 MiB"`
	Checkpoint      span       `help:"longest time between checkpoints; 0 is 30s"`
	Unfinished      unfinished `help:"what an unfinished run means: continue, new or fail"`
	New             bool       `help:"start a new run, as --unfinished new"`
	Startup         startup    `help:"auto, or manual: wait for the signal USR1 before reading sources"`
	ShutdownTimeout span       `help:"how long a stop may take before it cancels"`
	AllowDead       bool       `help:"exit with 0 although there are dead letters"`
	LogFormat       logFormat  `help:"text or json"`
}

func defaults() own {
	return own{Data: ".weir", ShutdownTimeout: span(30 * time.Second), Unfinished: "continue", Startup: "auto", LogFormat: "text", Sync: "group"}
}

// settings returns the own settings as such.
func (o *own) settings() ([]*setting, error) { return fields(reflect.ValueOf(o).Elem(), "WEIR_") }

// oneOf sets *s to text if it is one of words.
func oneOf[S ~string](s *S, text string, words ...string) error {
	if slices.Contains(words, text) {
		*s = S(text)
		return nil
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(words, ", "))
}

// A directory is named: a run without one would survive nothing.
type directory string

func (d *directory) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is empty; it names the directory that holds the runs, such as .weir")
	}
	*d = directory(text)
	return nil
}

// A span is a duration that is not negative.
type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no duration such as 250ms or 1m30s", text)
	}
	*s = span(d)
	return nil
}

func (s span) String() string { return time.Duration(s).String() }

type unfinished string

func (u *unfinished) UnmarshalText(text []byte) error {
	return oneOf(u, string(text), "continue", "new", "fail")
}

type startup string

func (s *startup) UnmarshalText(text []byte) error { return oneOf(s, string(text), "auto", "manual") }

type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error { return oneOf(f, string(text), "text", "json") }

type syncMode string

func (m *syncMode) UnmarshalText(text []byte) error {
	if d, err := time.ParseDuration(string(text)); err == nil && d > 0 {
		*m = syncMode(text)
		return nil
	}
	if err := oneOf(m, string(text), "group", "always", "none"); err != nil {
		return fmt.Errorf("%w, nor a duration such as 50ms", err)
	}
	return nil
}

// mode returns the durability mode.
func (m syncMode) mode() journal.Sync {
	switch m {
	case "always":
		return journal.Sync{Mode: journal.Always}
	case "none":
		return journal.Sync{Mode: journal.None}
	}
	if d, err := time.ParseDuration(string(m)); err == nil && d > 0 {
		return journal.Sync{Mode: journal.Interval, Every: d}
	}
	return journal.Sync{}
}

// A byteSize is a number of bytes: "256KiB", "4MiB", "1GiB" or plain bytes.
type byteSize int64

func (b *byteSize) UnmarshalText(text []byte) error {
	s, unit := string(text), int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if before, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = before, u
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > (1<<40)/unit {
		return fmt.Errorf("%q is no size such as 256KiB, 4MiB or 1GiB", text)
	}
	*b = byteSize(n * unit)
	return nil
}

func (b byteSize) String() string {
	for _, u := range []struct {
		suffix string
		unit   int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n := int64(b); n > 0 && n%u.unit == 0 {
			return fmt.Sprintf("%d%s", n/u.unit, u.suffix)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
