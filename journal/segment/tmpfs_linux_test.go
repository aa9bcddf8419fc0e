package segment_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

const tmpfsVariable = "WEIR_SEGMENT_TMPFS"

// A log on a file system of 8 MiB that is full pauses, still takes what is
// urgent, and comes to its end when space is given back. The test mounts a tmpfs
// in a mount namespace of its own, for which it runs itself once more; where that
// is not permitted it fails.
func TestFullTmpfs(t *testing.T) {
	if dir := os.Getenv(tmpfsVariable); dir != "" {
		mountTmpfs(t, dir)
		synctest.Test(t, func(t *testing.T) { fillDisk(t, dir) })
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullTmpfs$", "-test.v")
	cmd.Env = append(os.Environ(), tmpfsVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a mount namespace: %v (run the test as root, or permit user namespaces)\n%s", err, out)
	}
}

func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
}

func fillDisk(t *testing.T, dir string) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatalf("write ballast: %v", err)
	}
	runDir := filepath.Join(dir, "run")
	var told []error
	o := segment.Options{SegmentSize: 1 << 20, Paused: func(why error) { told = append(told, why) }}
	log, err := segment.Create(vfs.OS, runDir, run, o)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}

	// 6 MiB in all, and there is room for less than 5.
	const transitions, size = 96, 64 << 10
	orders, ship := &stage{name: "orders"}, &stage{name: "ship"}
	frames := make([][]journal.Frame, transitions)
	for i := range frames {
		frames[i] = orders.next(t, 1, nil, strings.Repeat(fmt.Sprintf("order %4d;", i), size/11))
	}
	done := make(chan error, 1) // the one result of the appender
	go func() {
		var lsn journal.LSN
		for _, f := range frames {
			var err error
			if lsn, err = log.Append(t.Context(), journal.Normal, f...); err != nil {
				done <- fmt.Errorf("append: %w", err)
				return
			}
		}
		done <- log.Await(t.Context(), lsn)
	}()
	synctest.Wait()
	if len(done) > 0 {
		t.Fatalf("6 MiB are in a log with room for 5: %v", <-done)
	}
	paused := log.Stats().Paused
	if !vfs.IsNoSpace(paused) {
		t.Fatalf("Stats.Paused = %v, want that there is no space", paused)
	}
	placed := log.Head()
	if err := log.Await(t.Context(), placed); err != nil {
		t.Fatalf("Await of what is placed, on a full disk: %v", err)
	}
	var urgent []string
	for i := range 5 {
		f := ship.next(t, 1, nil, fmt.Sprintf("receipt %d", i))
		urgent = append(urgent, string(f[0].Body))
		lsn, err := log.Append(t.Context(), journal.Urgent, f...)
		if err != nil {
			t.Fatalf("Urgent on a full disk: %v", err)
		}
		if err := log.Await(t.Context(), lsn); err != nil {
			t.Fatalf("Await of what is urgent, on a full disk: %v", err)
		}
	}
	if len(done) > 0 {
		t.Fatalf("the appender went on without space: %v", <-done)
	}
	t.Logf("paused after %d of %d transitions: %v", placed, transitions, paused)

	if err := os.Remove(ballast); err != nil {
		t.Fatalf("remove ballast: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("with space again: %v", err)
	}
	if err := log.Stats().Paused; err != nil {
		t.Errorf("Stats.Paused = %v with space again", err)
	}
	if err := log.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for i, why := range told { // space may run out more than once
		if paused := i%2 == 0; paused != vfs.IsNoSpace(why) || !paused && why != nil {
			t.Errorf("Options.Paused was told %v, want that there is no space and nil in turn", told)
		}
	}
	if len(told) < 2 || len(told)%2 != 0 {
		t.Errorf("Options.Paused was told %d times, want that there is space in the end", len(told))
	}

	log, report, err := segment.Open(vfs.OS, runDir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer log.Close()
	if report.Cut != 0 {
		t.Errorf("Open cut %d bytes of a log that was closed", report.Cut)
	}
	var want []string // what was placed before the disk was full, what was urgent, the rest
	for i, f := range frames {
		if i == int(placed) {
			want = append(want, urgent...)
		}
		want = append(want, string(f[0].Body))
	}
	if got := read(t, log, 0); !slices.Equal(got, want) {
		t.Errorf("the log holds %d frames that are not the %d placed, in order", len(got), len(want))
	}
}
