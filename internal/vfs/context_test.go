package vfs_test

import (
	"context"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
)

func TestContext(t *testing.T) {
	ctx := t.Context()
	if got := vfs.From(ctx); got != vfs.OS {
		t.Errorf("From of a bare context = %v, want OS", got)
	}
	if got := vfs.From(vfs.With(ctx, nil)); got != vfs.OS {
		t.Errorf("From(With(nil)) = %v, want OS", got)
	}
	outer, inner := vfs.NewMemory(), vfs.NewMemory()
	ctx = vfs.With(vfs.With(ctx, outer), inner)
	if got := vfs.From(context.WithoutCancel(ctx)); got != vfs.FS(inner) {
		t.Errorf("From = %v, want what With put there last", got)
	}
}
