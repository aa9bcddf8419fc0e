package vfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
)

// lockVariable names the file that a child process is to lock.
const lockVariable = "WEIR_TEST_LOCK"

func TestMain(m *testing.M) {
	if name := os.Getenv(lockVariable); name != "" {
		holdLock(name)
		return
	}
	os.Exit(m.Run())
}

// holdLock is the child: it reports, and holds the lock until its input ends
// or it is killed.
func holdLock(name string) {
	lock, err := vfs.OS.Lock(name, `{"who":"child"}`)
	if err != nil {
		fmt.Println("refused:", errors.Is(err, vfs.ErrLocked))
		return
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = lock.Close()
}

type child struct {
	cmd   *exec.Cmd
	input io.Closer
}

// startChild returns a child that says what it is expected to say.
func startChild(t *testing.T, name, want string) *child {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), lockVariable+"="+name)
	input, err := cmd.StdinPipe()
	must(t, err)
	output, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	says, err := bufio.NewReader(output).ReadString('\n')
	if says != want+"\n" || err != nil {
		t.Fatalf("the child says %q, %v, want %q", says, err, want)
	}
	return &child{cmd: cmd, input: input}
}

func TestLockBetweenProcesses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	holder := startChild(t, name, "held")
	_, err := vfs.OS.Lock(name, "parent")
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.Note != `{"who":"child"}` {
		t.Errorf("Lock beside the child = %v", err)
	}
	if note, held, err := vfs.OS.LockHolder(name); !held || note != `{"who":"child"}` || err != nil {
		t.Errorf("LockHolder = %q, %v, %v", note, held, err)
	}
	must(t, startChild(t, name, "refused: true").cmd.Wait())

	must(t, holder.cmd.Process.Kill()) // its note stays behind, the lock does not
	_ = holder.cmd.Wait()
	if note, held, err := vfs.OS.LockHolder(name); held || note != "" || err != nil {
		t.Errorf("LockHolder after the kill = %q, %v, %v", note, held, err)
	}
	lock, err := vfs.OS.Lock(name, `{}`)
	must(t, err)
	must(t, startChild(t, name, "refused: true").cmd.Wait())
	must(t, lock.Close())

	last := startChild(t, name, "held")
	must(t, last.input.Close())
	must(t, last.cmd.Wait())
	if content, err := os.ReadFile(name); len(content) != 0 || err != nil {
		t.Errorf("a lock given back leaves %q, %v", content, err)
	}
}
