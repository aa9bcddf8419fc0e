package plan

import (
	"reflect"
	"time"

	"github.com/weirflow/weir/event"
)

// What options write to, one struct for each audience. Unset fields take the
// flow's defaults. Faults says what is wrong with an option, for people.
type (
	// SourceSettings tune a source.
	SourceSettings struct {
		Guards Guards
		Faults []string
	}
	// StageSettings tune a stateless stage.
	StageSettings struct {
		OnError *OnError
		Ports   []string
		Faults  []string
	}
	// StateSettings tune a stage with state.
	StateSettings struct {
		OnError *OnError
		Emit    []Emission
		Faults  []string
	}
	// SinkSettings tune a sink.
	SinkSettings struct {
		Guards  Guards
		OnError *OnError
		Flush   time.Duration
		Faults  []string
	}
	// EffectSettings tune the performing of one effect.
	EffectSettings struct {
		Guards      Guards
		Concurrency int
		Unordered   bool
		Hold        bool
		Faults      []string
	}
	// OrchestrateSettings tune a stage of orchestrations.
	OrchestrateSettings struct {
		Uses        []Use
		MaxOpen     int // zero means the default
		Concurrency int // zero means the default
		Faults      []string
	}
	// DefaultSettings are for all stages that follow in a flow or group.
	DefaultSettings struct {
		OnError *OnError
		Faults  []string
	}
)

// A Use grants an orchestration an effect.
type Use struct {
	Name     string
	In, Out  reflect.Type
	Plan     func(event.Codec) (*Effect, error)
	Settings EffectSettings
}

// An Emission says when a stage emits a state entry.
type Emission struct {
	Rule  Rule
	Every int  // EmitEvery
	Reset bool // the entry is removed once it was emitted
}

// A Rule is the reason of an Emission.
type Rule uint8

// The rules.
const (
	EmitAtEnd Rule = iota + 1
	EmitEvery
	EmitOnChange
)
