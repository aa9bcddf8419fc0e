package resilience

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// longest is the longest pause that grows by itself.
const longest = time.Hour

// Tried is what was tried so far.
type Tried struct {
	Made        int           // attempts that ended, at least 1
	First, Last time.Time     // when the first began, and when the last ended
	After       time.Duration // the pause that the last one asked for, see [After]; zero means none
	Draw        float64       // in [0, 1), for the pause; see [Draw]
}

// Next returns when the next attempt is due: [Pause] after the last ended, or
// later if that asked for more. ok is false if there is none to be made, because
// there were Max, or because it would begin later than Within after the first. A
// nil p allows one attempt.
func Next(p *plan.Retry, t Tried) (at time.Time, ok bool) {
	if p == nil || t.Made >= p.Max {
		return time.Time{}, false
	}
	at = t.Last.Add(max(Pause(p, t.Made, t.Draw), t.After))
	if p.Within > 0 && at.Sub(t.First) > p.Within {
		return time.Time{}, false
	}
	return at, true
}

// Pause returns how long to wait after made attempts: Delay·Factor^(made-1), at
// most an hour, or Delay if that is more, and up to a half of it on top: draw, in
// [0, 1), says how much. So those who failed together do not come back together.
func Pause(p *plan.Retry, made int, draw float64) time.Duration {
	most := float64(max(longest, p.Delay))
	pause := float64(p.Delay) * math.Pow(max(p.Factor, 1), float64(max(made, 1)-1))
	if !(pause < most) { // nor if 0·∞
		pause = most
	}
	if p.Delay == 0 {
		pause = 0
	}
	if pause *= 1 + draw/2; pause >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(pause)
}

// Draw returns a number in [0, 1) that follows from a call's key and the attempts
// made, so that the same call always waits the same.
func Draw(key string, made int) float64 {
	sum := sha256.Sum256(binary.AppendUvarint([]byte(key), uint64(made)))
	return float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
}

// After returns how long err asks to wait at least before another attempt: the
// service's wish, or until a breaker lets calls out again. Zero means that it does
// not ask.
func After(err error, now time.Time) time.Duration {
	if rejected, ok := errors.AsType[*RejectedError](err); ok {
		return max(rejected.Until.Sub(now), 0)
	}
	if refused, ok := errors.AsType[*plan.RefusedError](err); ok {
		return refused.After
	}
	return 0
}

// sleep reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
