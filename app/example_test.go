package app_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

// A program of one flow: func main() { app.Main(greet) }. Run is the same without
// the process, for tests. The field Word of the settings is the flag --word, the
// variable WEIR_GREET_WORD and the key word in the table [greet] of weir.toml.
func Example() {
	greet := weir.DefineWith("greet", settings{Word: "hello"}, func(f *weir.Flow, c settings) {
		words := weir.From(f, "words", weir.Slice([]string{c.Word}))
		weir.Each(words, "say", func(_ context.Context, w string) error { fmt.Println(w); return nil })
	})
	data, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(data)
	var said strings.Builder // what Weir itself has to say
	code := app.Run([]string{"--word", "salut", "--data", data}, os.Stdin, os.Stdout, &said, greet)
	fmt.Println("exit", code)
	// Output:
	// salut
	// exit 0
}
