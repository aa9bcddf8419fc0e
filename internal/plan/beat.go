package plan

import "context"

// beatKey is where the context of a call has its beat.
type beatKey struct{}

// WithBeat returns a context in which [Beat] calls beat.
func WithBeat(ctx context.Context, beat func()) context.Context {
	return context.WithValue(ctx, beatKey{}, beat)
}

// Beat tells whoever waits for the call of ctx that it goes on; see
// effect.Heartbeat.
func Beat(ctx context.Context) {
	if beat, ok := ctx.Value(beatKey{}).(func()); ok {
		beat()
	}
}
