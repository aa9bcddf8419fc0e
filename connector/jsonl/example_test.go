package jsonl_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/jsonl"
)

type sale struct {
	Item  string `json:"item"`
	Cents int    `json:"cents"`
}

// A file is read, and what is dear is written to another, which appears whole
// when the input has ended. A line that is no JSON is a dead letter.
func Example() {
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "sales.jsonl"), filepath.Join(dir, "dear.jsonl")
	lines := `{"item":"pen","cents":150}` + "\n" + `oops` + "\n" + `{"item":"desk","cents":19900}` + "\n"
	if err := os.WriteFile(in, []byte(lines), 0o600); err != nil {
		log.Fatal(err)
	}

	flow := weir.Define("sales", func(f *weir.Flow) {
		sales := weir.From(f, "sales", jsonl.Read[sale](in))
		dear := weir.Filter(sales, "dear", func(s sale) (bool, error) { return s.Cents >= 10000, nil })
		weir.Into(dear, "write", jsonl.Write[sale](out))
	})
	sum, err := flow.Run(context.Background(), weir.Options{})
	if err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d read, %d dead letter\n%s", sum.In, sum.Dead, text)
	// Output:
	// 2 read, 1 dead letter
	// {"item":"desk","cents":19900}
}
