package weir_test

import (
	"context"
	"testing"

	"github.com/weirflow/weir"
)

func TestGraphOfAFlow(t *testing.T) {
	def := weir.Define("hello", func(f *weir.Flow) {
		words := weir.From(f, "words", weir.Slice([]string{"a", "b"}))
		f.Group("loud", func() {
			loud := weir.Map(words, "shout", func(w string) (string, error) { return w + "!", nil })
			weir.Each(loud, "print", func(context.Context, string) error { return nil })
		})
		weir.Each(weir.DeadLetters(words, "loud/shout"), "dead", func(context.Context, weir.Failed[string]) error { return nil })
	})
	g, err := def.Graph(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := g.MarshalJSON()
	t.Logf("%s", b)
}
