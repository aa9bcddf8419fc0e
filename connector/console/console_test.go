package console_test

import (
	"context"
	"fmt"
	"os"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/console"
)

type score struct {
	Name   string `json:"name"`
	Points *int   `json:"points"`
}

func show(s weir.Sink[score], scores ...score) {
	w, err := s.Open(context.Background(), weir.At{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var batch []weir.Delivery[score]
	for _, v := range scores {
		d := weir.Delivery[score]{}
		d.Value = v
		batch = append(batch, d)
	}
	for i := range batch {
		if err := w.Deliver(context.Background(), batch[i:i+1]); err != nil {
			fmt.Println(err)
		}
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}
}

func ExampleTable() {
	ten, seven := 10, 7
	t := console.Table[score]("Scores")
	t.To = os.Stdout
	show(t, score{"Grace", &ten}, score{"Ada", &seven}, score{"Nobody", nil})
	// Output:
	// Scores
	// name   points
	// Grace      10
	// Ada         7
	// Nobody
}

func ExampleJSON() {
	seven := 7
	show(console.JSON[score](), score{"<Ada>", &seven}, score{"Grace", nil})
	// Output:
	// {"name":"<Ada>","points":7}
	// {"name":"Grace","points":null}
}

func ExamplePretty() {
	show(console.Pretty[score](), score{"Ada", nil})
	// Output:
	// {
	//   "name": "Ada",
	//   "points": null
	// }
}

func ExampleLines() {
	seven := 7
	show(console.Lines(func(s score) string { return fmt.Sprintf("%s has %d", s.Name, *s.Points) }), score{"Ada", &seven})
	// Output: Ada has 7
}
