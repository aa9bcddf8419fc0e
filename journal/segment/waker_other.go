//go:build !linux

package segment

import "github.com/weirflow/weir/internal/vfs"

func newWaker(vfs.FS, string) *waker { return &waker{} }
