package weir

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// What a stage that performs effects has accepted is a payload of its input, and
// so as old as that. What it was called then, and what was in it, follows from the
// type of the stage's failed port, which holds the same payloads.

// addFailed adds the failed port.
func (p *performing[Req, Res]) addFailed(s *stage) {
	p.failed = addPort[Failed[Req]](s, plan.PortFailed)
	if typ := payloadType[Failed[Req]](s, plan.PortFailed); typ != nil {
		p.failedShape = typ.Schema
	}
}

// Remember says what the payloads of the failed port were in earlier epochs; see
// plan.Rememberer.
func (p *performing[Req, Res]) Remember(past plan.Past) { p.past = past }

// Reads tells how what was accepted is read when the failed port was of a type;
// see plan.Rememberer.
func (p *performing[Req, Res]) Reads(failed topology.Type) plan.Reading {
	was, shape := p.accepted(failed)
	switch p.in.Reads(was) {
	case payload.Upcast:
		return plan.Upcast
	case payload.AsIs:
		switch {
		case shape == p.in.Schema:
			return plan.Same
		case p.in.Widens(shape):
			return plan.Widened
		}
	case payload.Unreadable:
	}
	return plan.Unreadable
}

// accepted returns as what a payload was accepted, and its schema.
func (p *performing[Req, Res]) accepted(failed topology.Type) (was payload.Recorded, shape string) {
	was.Name = strings.TrimSuffix(strings.TrimPrefix(failed.Name, "Failed["), "]")
	const before = `{"input":`
	after := strings.TrimPrefix(strings.TrimPrefix(p.failedShape, before), p.in.Schema)
	shape, ok := strings.CutSuffix(strings.TrimPrefix(failed.Shape, before), after)
	if !ok || !strings.HasPrefix(failed.Shape, before) {
		return was, ""
	}
	was.Schema = payload.HashOf(p.in.Codec, shape)
	return was, shape
}

// Renew makes of what was accepted in an epoch what would be accepted now; see
// plan.Renewer. What is read as it is stays as it is: a call that was begun is
// made with the bytes that are on record.
func (p *performing[Req, Res]) Renew(data []byte, epoch uint64) ([]byte, error) {
	failed := p.past.At(epoch)
	if failed == nil || p.Reads(*failed) != plan.Upcast {
		return data, nil
	}
	was, _ := p.accepted(*failed)
	var v Req
	if err := p.in.DecodeAs(was, data, &v); err != nil {
		return nil, err
	}
	out, err := p.in.Append(nil, &v)
	if err != nil {
		return nil, fmt.Errorf("what its upcaster gives: %w", err)
	}
	return out, nil
}
