package segment_test

import (
	"fmt"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{256, 1024, 64 << 10} {
		for _, mode := range []journal.SyncMode{journal.Group, journal.None} {
			for _, wait := range []bool{false, true} {
				b.Run(fmt.Sprintf("size=%d/mode=%d/wait=%v", size, mode, wait), func(b *testing.B) {
					l, err := segment.Create(vfs.OS, b.TempDir()+"/run", run, segment.Options{Sync: journal.Sync{Mode: mode}})
					if err != nil {
						b.Fatal(err)
					}
					f := journal.Frame{Stage: "orders", Body: make([]byte, size), Spans: []journal.Span{{Stage: "orders", Port: "out", First: 1, Count: 1}}}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						lsn, err := l.Append(b.Context(), journal.Normal, f)
						if err != nil {
							b.Fatal(err)
						}
						f.Spans[0].First++
						if wait {
							if err := l.Await(b.Context(), lsn); err != nil {
								b.Fatal(err)
							}
						}
					}
					if err := l.Close(); err != nil {
						b.Fatal(err)
					}
				})
			}
		}
	}
}
