package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onSignals calls stop at the first interrupt or termination, cancel at the
// second, and begin at USR1, each in a goroutine that the returned function waits
// for. It ends that, too.
func onSignals(stop, cancel, begin func(), say func(format string, args ...any)) (end func()) {
	ch := make(chan os.Signal, 4) // the process sends; room for a hasty person
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1)
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
