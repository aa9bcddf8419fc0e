package main

import (
	"encoding/json"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir/examples/internal/scripts"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// The program of the tests is this test binary under another name, in a process of
// its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"payments": main})
}

// TestScripts runs what is in testdata/script: what a person types, what the
// programs answer, word by word, and their exit codes. $GATEWAY is the payment
// service, $ADDR an address for it, $CHANGED is payments with another fee.
func TestScripts(t *testing.T) {
	gateway := compiled(t, "gateway", "./gateway")
	changed := compiled(t, "payments", ".", "-overlay", overlay(t, "orders.go", "feePermille = 14", "feePermille = 15"))
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, Cmds: scripts.Commands(),
		Setup: func(env *testscript.Env) error {
			addr, err := unused()
			env.Setenv("GATEWAY", gateway)
			env.Setenv("CHANGED", changed)
			env.Setenv("ADDR", addr)
			env.Setenv("PASSED", "WEIR_PAYMENTS_TOKEN")
			scripts.Setup(env)
			return err
		},
	})
}

// overlay is a file for go build -overlay: name with one text in the place of another.
func overlay(t *testing.T, name, old, text string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(path)
	if err != nil || strings.Count(string(code), old) != 1 {
		t.Fatalf("%s does not say %q once: %v", name, old, err)
	}
	dir := t.TempDir()
	to := filepath.Join(dir, name)
	if err := os.WriteFile(to, []byte(strings.Replace(string(code), old, text, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": {path: to}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// unused is an address that nobody listens at.
func unused() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// The README types what there is.
func TestReadme(t *testing.T) {
	program, err := exec.LookPath("payments")
	if err != nil {
		t.Fatal(err)
	}
	scripts.Readme(t, "README.md", map[string]string{"bin/payments": program, "bin/changed": program, "bin/gateway": compiled(t, "gateway", "./gateway")})
}
