package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// catch begins to collect the signals that a run obeys. A signal that comes while
// the run starts waits until it has; so it does not kill it.
func catch() chan os.Signal {
	ch := make(chan os.Signal, 4) // the process sends; room for a hasty person
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1)
	return ch
}

// obey calls stop at the first interrupt or termination that comes from ch,
// cancel at the second, and begin at USR1, in goroutines that the returned
// function ends and waits for. It gives up ch, too.
func obey(ch chan os.Signal, stop, cancel, begin func(), say func(format string, args ...any)) (end func()) {
	done := make(chan struct{})    // closed by end
	stopped := make(chan struct{}) // closed when stop has returned
	left := make(chan struct{})    // closed by the goroutine
	go func() {
		defer close(left)
		for stops := 0; ; {
			select {
			case <-done:
				if stops > 0 {
					<-stopped
				}
				return
			case s := <-ch:
				switch {
				case s == syscall.SIGUSR1:
					begin()
				case stops == 0:
					stops++
					say("%v: stopping; what is in flight finishes. Again to cancel", s)
					go func() {
						defer close(stopped)
						stop()
					}()
				default:
					say("%v: cancelling", s)
					cancel()
				}
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(done)
		<-left
	}
}

// interrupted returns a context that ends at an interrupt.
func interrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
