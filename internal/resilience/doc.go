// Package resilience is the mechanics of policies: how often, how fast, how many
// at once, and whether at all a service is called. It knows nothing of effects,
// sources or sinks, and it records nothing; what it decides from is either the
// calls it saw or what a log says of earlier ones.
//
// A [Set] belongs to one run. It makes a [Guard] for each effect of each stage;
// guards with policies of the same name share one breaker, bucket or bulkhead.
// [Next] says when to attempt again.
//
//	set := resilience.NewSet(time.Now, rand.Float64)
//	g := set.Guard("card.charge.v1", guards)
//	g.Restore(recorded)
//	leave, err := g.Enter(ctx)
//	if err != nil {
//		return err // refused: the call was not made
//	}
//	res, err := call(ctx)
//	leave(err, took)
//
// # Order
//
// From the outside in, whatever the order in which they are declared:
//
//	fallback > retry > breaker > bulkhead > rate > timeout > hedge
//
// Why in this order:
//
//   - fallback answers for all that is within, once nothing is left to try;
//   - retry makes attempts, each of which passes everything below it anew, so that
//     a breaker sees every failure and a retry takes its place in every queue;
//   - the breaker refuses before anything is waited for, and is asked once more
//     when the waiting is over, because it may have opened meanwhile; while its
//     probes are under way, calls wait for what comes of them;
//   - the bulkhead comes before the rate, so that a call leaves the moment it has
//     its token: no more calls leave in a second than the rate says, even if many
//     places become free at once;
//   - the timeout bounds one attempt and not its waiting in queues;
//   - a hedge is part of one attempt: its calls share the timeout, and the breaker
//     sees one result. A further call takes a place and a token that are free, or is
//     not made.
//
// # Time
//
// Time is what the set's clock says. Waiting is done by timers of package time.
// Every decision takes the time as an argument, so going through recorded
// attempts with their times leads to the state that the attempts led to:
// that is all that [Guard.Restore] does.
package resilience
