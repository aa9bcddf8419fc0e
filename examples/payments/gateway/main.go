// Command gateway is a payment service for trying things out: a real server with
// idempotency keys and a ledger on disk, that is as slow, busy, forgetful and
// often away as its flags say.
//
//	go run ./gateway -lose 0.1 -late 0.05 -every 20s -outage 3s
//
// An interrupt ends it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var f Faults
	flags := flag.NewFlagSet("gateway", flag.ExitOnError)
	listen := flags.String("listen", "localhost:9000", "address; port 0 picks one, which is printed")
	name := flags.String("ledger", "ledger.jsonl", "file of what happened")
	token := flags.String("token", "", "what callers must bring as Authorization: Bearer …; none if empty")
	attached := flags.Bool("attached", false, "end when standard input does")
	seed := flags.Uint64("seed", 1, "of the faults")
	flags.DurationVar(&f.Latency, "latency", 5*time.Millisecond, "of an answer, on average")
	flags.StringVar(&f.Only, "only", "", "the one path that the shares below are of, such as /bookings; all if empty")
	flags.Float64Var(&f.Refuse, "refuse", 0, "share that is refused with 503, and not done")
	flags.Float64Var(&f.Throttle, "throttle", 0, "share that is refused with 429, and not done")
	flags.DurationVar(&f.RetryAfter, "retry-after", time.Second, "when those who are refused shall come again")
	flags.Float64Var(&f.Fail, "fail", 0, "share that is answered with 500, and not done")
	flags.Float64Var(&f.Break, "break", 0, "share that is done, and answered with 500")
	flags.Float64Var(&f.Lose, "lose", 0, "share that is done and never answered")
	flags.Float64Var(&f.Late, "late", 0, "share that is done and answered late")
	flags.DurationVar(&f.LateBy, "late-by", 3*time.Second, "how late")
	flags.DurationVar(&f.Every, "every", 0, "how often there is an outage, 0 for never")
	flags.DurationVar(&f.Outage, "outage", 2*time.Second, "how long an outage lasts")
	flags.BoolVar(&f.Blind, "blind", false, "nothing can be looked up")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *attached {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
			stop()
		}()
	}
	ledger, err := OpenLedger(*name)
	if err != nil {
		return err
	}
	defer ledger.Close()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "gateway at http://%s, ledger %s\n", l.Addr(), *name)
	server := &http.Server{Handler: NewGateway(ledger, f, *token, *seed).Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
