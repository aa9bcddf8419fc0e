// Command hello joins three words into a sentence.
package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

var hello = weir.Define("hello", func(f *weir.Flow) {
	words := weir.From(f, "words", weir.Slice([]string{"hello", "durable", "world"}))
	shouted := weir.Map(words, "shout", func(w string) (string, error) { return strings.ToUpper(w), nil })
	sentence := weir.Reduce(weir.All(shouted), "sentence", weir.Zero, func(s *string, w string) error {
		*s = strings.TrimSpace(*s + " " + w)
		return nil
	})
	weir.Each(sentence, "print", func(_ context.Context, s string) error {
		_, err := fmt.Println(s)
		return err
	})
})

func main() { app.Main(hello) }
