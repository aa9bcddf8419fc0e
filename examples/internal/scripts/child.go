// Package scripts runs the examples as people do: as programs, in processes of
// their own, from scripts of package testscript and beside tests that kill them.
//
// [Commands] are what scripts can say, [Plain] is what they compare.
package scripts

import (
	"bytes"
	"os/exec"
	"regexp"
	"sync"
)

// A Child is a program that runs beside a test.
type Child struct {
	*exec.Cmd
	stdout, stderr lineBuffer
}

// Start starts a program. Its output is kept.
func Start(cmd *exec.Cmd) (*Child, error) {
	c := &Child{Cmd: cmd}
	c.stdout.more, c.stderr.more = sync.NewCond(&c.stdout.mu), sync.NewCond(&c.stderr.mu)
	cmd.Stdout, cmd.Stderr = &c.stdout, &c.stderr
	return c, cmd.Start()
}

// Says returns once the program has written text that matches to its standard
// error. It is false if the program ended without.
func (c *Child) Says(re *regexp.Regexp) bool { return c.stderr.await(re, 1) }

// Prints is Says for standard output.
func (c *Child) Prints(re *regexp.Regexp) bool { return c.stdout.await(re, 1) }

// SaysTimes is Says for text that is written for the n-th time.
func (c *Child) SaysTimes(re *regexp.Regexp, n int) bool { return c.stderr.await(re, n) }

// Said is what the program has written to its standard error so far.
func (c *Child) Said() string { return c.stderr.String() }

// Ends waits for the end of the program; its error is that of exec.Cmd.Wait.
func (c *Child) Ends() error {
	err := c.Wait()
	c.stdout.close()
	c.stderr.close()
	return err
}

// A lineBuffer wakes who waits for more of it.
type lineBuffer struct {
	mu   sync.Mutex // guards text and end
	more *sync.Cond
	text bytes.Buffer
	end  bool
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.more.Broadcast()
	return b.text.Write(p)
}

func (b *lineBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lineBuffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = true
	b.more.Broadcast()
}

// await reports whether text that matches came n times before the end.
func (b *lineBuffer) await(re *regexp.Regexp, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(re.FindAllIndex(b.text.Bytes(), n)) < n {
		if b.end {
			return false
		}
		b.more.Wait()
	}
	return true
}
