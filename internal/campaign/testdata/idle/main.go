// Command idle is a flow of a hundred stages whose source has nothing to read.
package main

import (
	"context"
	"fmt"
	"iter"
	"os"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

var idle = weir.Define("idle", func(f *weir.Flow) {
	s := weir.From(f, "nothing", weir.SourceFunc[int](func(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			if after == "" && !yield(weir.Batch[int]{Values: []int{1, 2, 3}, Position: "3"}, nil) {
				return
			}
			fmt.Printf("reading %d\n", os.Getpid())
			<-ctx.Done()
		}
	}))
	for i := range 97 {
		if i%10 == 5 {
			s = weir.Reduce(weir.All(s), fmt.Sprint("stage", i), weir.Zero, func(sum *int, v int) error { *sum += v; return nil }, weir.EmitAlways())
			continue
		}
		s = weir.Map(s, fmt.Sprint("stage", i), func(v int) (int, error) { return v + 1, nil })
	}
	weir.Each(s, "sink", func(context.Context, int) error { return nil })
	weir.Each(weir.BadInput(f, "nothing"), "bad", func(context.Context, weir.Failed[[]byte]) error { return nil })
})

func main() { app.Main(idle) }
