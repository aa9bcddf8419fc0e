package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The files beside the example are those that this program writes.
func TestFiles(t *testing.T) {
	for name, want := range files() {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil || string(got) != want {
			t.Errorf("../%s is not what this program writes (%v): go run ./orders", name, err)
		}
	}
}
