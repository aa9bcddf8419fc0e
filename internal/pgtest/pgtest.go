// Package pgtest starts a PostgreSQL server of its own for tests and
// measurements, from the binaries of the Debian package: `initdb` in a folder
// under the temporary one, a Unix socket and nothing else, fsync on. The server
// ends with the process that started it, however that ends.
//
// A test package has one server, which the first test that asks for it starts:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestX(t *testing.T) { server := pgtest.Of(t) … }
//
// Without the binaries such tests are skipped and say what to install; where
// WEIR_NEEDS_POSTGRES is set, as on CI, they fail.
package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Needs is the variable that makes a missing server an error.
const Needs = "WEIR_NEEDS_POSTGRES"

// ErrMissing says that there are no binaries of PostgreSQL here.
var ErrMissing = errors.New("no PostgreSQL here: apt-get install postgresql (its initdb and postgres are looked for in /usr/lib/postgresql/*/bin and in PATH)")

// A Server is a running PostgreSQL with a superuser "weir" who needs no password,
// and an empty database "postgres".
type Server struct {
	Dir string // of its socket, .s.PGSQL.5432, and of all its files

	hold io.Closer     // the server ends when this is closed
	done chan struct{} // closed by the goroutine that waits for the server's end
}

// DSN returns how to reach a database of s.
func (s *Server) DSN(database string) string {
	return "host=" + s.Dir + " user=weir dbname=" + database
}

// Stop ends s and removes its files.
func (s *Server) Stop() error {
	err := s.hold.Close()
	<-s.done
	return errors.Join(err, os.RemoveAll(s.Dir))
}

// Start starts a server. Settings are added to its command line, as in
// "max_connections=20".
func Start(settings ...string) (_ *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "weir-pg-")
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start PostgreSQL: %w", err), os.RemoveAll(home))
		}
	}()
	as, err := owner(home)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(home, "data")
	command := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(name, args...) //nolint:noctx // it ends with the process that holds its standard input
		c.Dir, c.Env, c.SysProcAttr = home, append(os.Environ(), "LC_ALL=C"), as
		return c
	}
	initdb := command(filepath.Join(bin, "initdb"), "-D", data, "-U", "weir", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	args := []string{"-c", script, home, filepath.Join(bin, "postgres"), "-D", data, "-k", home, "-c", "listen_addresses=", "-c", "fsync=on"}
	for _, set := range settings {
		args = append(args, "-c", set)
	}
	s := &Server{Dir: home, done: make(chan struct{})}
	if err := s.run(command("/bin/sh", args...)); err != nil {
		return nil, err
	}
	return s, nil
}

// script runs a command until it ends, or standard input does, and removes the
// folder that it is named after.
const script = `exec 3<&0
"$@" </dev/null & pid=$!
{ cat <&3; kill -QUIT $pid; } >/dev/null 2>&1 &
wait $pid; code=$?
rm -rf "$0"
exit $code`

// run starts the server and returns when it takes connections.
func (s *Server) run(server *exec.Cmd) error {
	hold, err := server.StdinPipe()
	if err != nil {
		return err
	}
	log, err := server.StderrPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	s.hold = hold
	ready := make(chan error, 1) // the goroutine sends the first of two answers
	go func() {
		defer close(s.done)
		var said []string
		for lines := bufio.NewScanner(log); lines.Scan(); {
			said = append(said[max(0, len(said)-50):], lines.Text())
			if strings.Contains(lines.Text(), "database system is ready to accept connections") {
				select {
				case ready <- nil:
				default:
				}
			}
		}
		ended := server.Wait()
		select {
		case ready <- fmt.Errorf("it ended: %w\n%s", ended, strings.Join(said, "\n")):
		default:
		}
	}()
	return <-ready
}

// binaries returns the folder of the newest PostgreSQL.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", fmt.Errorf("look for PostgreSQL: %w", err)
	}
	if len(found) > 0 {
		version := func(path string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // what is no number comes last
			return n
		}
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", ErrMissing
}

// owner gives home to the user whom the server runs as, who may not be root: then
// it is postgres, or nobody.
func owner(home string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		if who, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("a user to run it as: %w", err)
		}
	}
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", who.Username, err)
	}
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", who.Username, err)
	}
	if err := os.Chown(home, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// shared is the server of a test package.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs the tests of a package and then ends its server. It returns what the
// process is to end with.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.err == nil && shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			return max(code, 1)
		}
	}
	return code
}

// Of returns the server of the test package, which must end with [Main].
func Of(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = Start() })
	switch err := shared.err; {
	case errors.Is(err, ErrMissing) && os.Getenv(Needs) == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return shared.server
}
