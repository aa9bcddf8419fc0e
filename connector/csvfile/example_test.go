package csvfile_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/csvfile"
)

type town struct {
	Name   string `csv:"name"`
	People int    `csv:"people"`
}

// Columns are matched by name; those that the type does not have are ignored.
func Example() {
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "cities.csv"), filepath.Join(dir, "large.csv")
	if err := os.WriteFile(in, []byte("country,name,people\nDE,Ulm,126000\nFR,Lyon,516000\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	flow := weir.Define("cities", func(f *weir.Flow) {
		cities := weir.From(f, "cities", csvfile.Read[town](in))
		large := weir.Filter(cities, "large", func(c town) (bool, error) { return c.People > 200000, nil })
		weir.Into(large, "write", csvfile.Write[town](out))
	})
	if _, err := flow.Run(context.Background(), weir.Options{}); err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))
	// Output:
	// name,people
	// Lyon,516000
}
