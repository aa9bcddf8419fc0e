package pgtest_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// A server takes connections when it is there, and leaves nothing behind.
func TestStartAndStop(t *testing.T) {
	pgtest.Of(t)
	s, err := pgtest.Start("max_connections=10")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(s.Dir, ".s.PGSQL.5432")
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), s.Stop()); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("it still takes connections")
	}
	if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}

// A server that cannot run says why.
func TestStartFails(t *testing.T) {
	pgtest.Of(t)
	if _, err := pgtest.Start("no_such_setting=1"); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("Start = %v, want what the server said", err)
	}
}
