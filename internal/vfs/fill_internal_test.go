package vfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestFill tests from inside what serves only where the system cannot reserve
// space, which the machine that runs the tests probably can.
func TestFill(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := bytes.Repeat([]byte("head"), 300<<10) // more than one chunk
	if _, err := f.WriteAt(head, 0); err != nil {
		t.Fatal(err)
	}
	if err := fill(f, 100, 3<<20); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := append(bytes.Clone(head), make([]byte, 100+(3<<20)-len(head))...)
	if !bytes.Equal(got, want) {
		t.Errorf("after fill: %d bytes, want %d, the first ones kept and the rest zeros", len(got), len(want))
	}
}
