package weir_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
)

// run runs a flow in memory, quietly, and prints how it ended if not well.
func run(wire func(f *weir.Flow)) {
	if _, err := weir.Define("example", wire).Run(context.Background(), weir.Options{Logger: quiet}); err != nil {
		fmt.Println(err)
	}
}

func show[T any](_ context.Context, v T) error {
	fmt.Printf("%+v\n", v)
	return nil
}

type sale struct {
	Shop  string
	Cents int
}

var sales = []sale{{"north", 300}, {"south", 120}, {"north", 50}, {"west", 700}}

func shopOf(s sale) string { return s.Shop }

func Example() {
	hello := weir.Define("hello", func(f *weir.Flow) {
		words := weir.From(f, "words", weir.Slice([]string{"hello", "durable", "world"}))
		loud := weir.Map(words, "shout", func(w string) (string, error) { return strings.ToUpper(w), nil })
		weir.Each(loud, "print", func(_ context.Context, w string) error { fmt.Println(w); return nil })
	})
	sum, err := hello.Run(context.Background(), weir.Options{Logger: quiet})
	fmt.Println(sum.Status, sum.In, sum.Out, err)
	// Output:
	// HELLO
	// DURABLE
	// WORLD
	// completed 3 3 <nil>
}

func ExampleDefineWith() {
	type config struct{ Greeting string }
	def := weir.DefineWith("greet", config{Greeting: "hello"}, func(f *weir.Flow, cfg config) {
		names := weir.From(f, "names", weir.Slice([]string{"ann", "bob"}))
		weir.Each(weir.Map(names, "greet", func(n string) (string, error) { return cfg.Greeting + " " + n, nil }), "print", show)
	})
	_, err := def.Run(context.Background(), weir.Options{Config: config{Greeting: "good morning"}, Logger: quiet})
	fmt.Println(err)
	// Output:
	// good morning ann
	// good morning bob
	// <nil>
}

func ExampleDefinition_Graph() {
	_, err := weir.Define("shop", func(f *weir.Flow) {
		in := weir.From(f, "Sales", weir.Slice(sales))
		weir.Each(weir.DeadLetters(in, "validate"), "print", show)
	}).Graph(nil)
	for line := range strings.Lines(err.Error()) {
		fmt.Println(strings.TrimSpace(strings.Split(line, " (")[0]))
	}
	// Output:
	// flow shop: 2 problems
	// stage name "Sales" must begin with a-z and hold only a-z, 0-9 and _, groups joined by /; try "sales"
	// dead letters of stage "validate" are read, but there is no such stage
}

func ExampleFlow_Group() {
	def := weir.Define("shop", func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales))
		f.Group("check", func() {
			weir.Filter(in, "large", func(s sale) (bool, error) { return s.Cents > 500, nil })
		})
	})
	g, err := def.Graph(nil)
	fmt.Println(g.Order(), err)
	// Output: [sales check/large] <nil>
}

func ExampleFrom() {
	// count yields the numbers after a position, each in a batch of its own.
	count := weir.SourceFunc[int](func(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			n, _ := strconv.Atoi(string(after)) // "" is the beginning
			for n++; n <= 3 && ctx.Err() == nil; n++ {
				if !yield(weir.Batch[int]{Values: []int{n}, Position: weir.Position(strconv.Itoa(n))}, nil) {
					return
				}
			}
		}
	})
	run(func(f *weir.Flow) { weir.Each(weir.From(f, "count", count), "print", show) })
	// Output:
	// 1
	// 2
	// 3
}

func ExampleSeq() {
	run(func(f *weir.Flow) {
		weir.Each(weir.From(f, "words", weir.Seq(slices.Values([]string{"a", "b"}))), "print", show)
	})
	// Output:
	// a
	// b
}

func ExampleChan() {
	ch := make(chan int, 2)
	ch <- 1
	ch <- 2
	close(ch)
	run(func(f *weir.Flow) { weir.Each(weir.From(f, "numbers", weir.Chan(ch)), "print", show) })
	// Output:
	// 1
	// 2
}

func ExampleFilter() {
	run(func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales))
		weir.Each(weir.Filter(in, "large", func(s sale) (bool, error) { return s.Cents > 250, nil }), "print", show)
	})
	// Output:
	// {Shop:north Cents:300}
	// {Shop:west Cents:700}
}

func ExampleFlatMap() {
	run(func(f *weir.Flow) {
		lines := weir.From(f, "lines", weir.Slice([]string{"to be", "or not"}))
		words := weir.FlatMap(lines, "words", func(l string, emit weir.Emit[string]) error {
			for w := range strings.FieldsSeq(l) {
				emit(w)
			}
			return nil
		})
		weir.Each(words, "print", show)
	})
	// Output:
	// to
	// be
	// or
	// not
}

func ExampleSplit2() {
	run(func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales))
		large, small := weir.Split2(in, "size", func(s sale, large weir.Emit[sale], small weir.Emit[string]) error {
			if s.Cents > 500 {
				large(s)
			} else {
				small(s.Shop)
			}
			return nil
		}, weir.Ports("large", "small"))
		weir.Each(large, "print", show)
		weir.Each(weir.Filter(small, "none", func(string) (bool, error) { return false, nil }), "drop", show)
	})
	// Output: {Shop:west Cents:700}
}

func ExampleSplit() {
	type checked struct {
		Valid   weir.Out[sale]
		Invalid weir.Out[string]
	}
	run(func(f *weir.Flow) {
		out := weir.Split(weir.From(f, "sales", weir.Slice(sales)), "check", func(s sale, to checked) error {
			if s.Shop == "west" {
				to.Invalid.Emit(s.Shop + " is closed")
			} else {
				to.Valid.Emit(s)
			}
			return nil
		})
		weir.Each(out.Invalid, "print", show)
	})
	// Output: west is closed
}

func ExampleReduce() {
	run(func(f *weir.Flow) {
		byShop := weir.KeyBy(weir.From(f, "sales", weir.Slice(sales)), shopOf)
		totals := weir.Reduce(byShop, "totals",
			func(shop string) sale { return sale{Shop: shop} },
			func(total *sale, s sale) error { total.Cents += s.Cents; return nil })
		weir.Each(totals, "print", show)
	})
	// Output:
	// {Shop:north Cents:350}
	// {Shop:south Cents:120}
	// {Shop:west Cents:700}
}

func ExampleEmission_Reset() {
	run(func(f *weir.Flow) {
		numbers := weir.All(weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4, 5})))
		pairs := weir.Reduce(numbers, "pairs", weir.Zero, func(sum *int, n int) error { *sum += n; return nil },
			weir.EmitEvery(2).Reset(), weir.EmitAtEnd())
		weir.Each(pairs, "print", show)
	})
	// Output:
	// 3
	// 7
	// 5
}

func ExampleTopN() {
	run(func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales))
		best := weir.TopN(weir.All(in), "best", 2, shopOf, func(a, b sale) int { return cmp.Compare(b.Cents, a.Cents) })
		weir.Each(best, "print", show)
	})
	// Output: [{Shop:west Cents:700} {Shop:south Cents:120}]
}

func ExampleLatest() {
	run(func(f *weir.Flow) {
		weir.Each(weir.Latest(weir.KeyBy(weir.From(f, "sales", weir.Slice(sales)), shopOf), "latest"), "print", show)
	})
	// Output:
	// {Shop:north Cents:50}
	// {Shop:south Cents:120}
	// {Shop:west Cents:700}
}

func ExampleJoin() {
	type city struct{ Shop, Name string }
	run(func(f *weir.Flow) {
		cities := weir.From(f, "cities", weir.Slice([]city{{"north", "Kiel"}, {"west", "Trier"}}))
		byShop := weir.KeyBy(weir.From(f, "sales", weir.Slice(sales)), shopOf)
		table := weir.TableOf(weir.KeyBy(cities, func(c city) string { return c.Shop }))
		joined, unknown := weir.Join(byShop, table, "city", func(s sale, c city) (string, error) {
			return fmt.Sprintf("%s %d", c.Name, s.Cents), nil
		})
		weir.Each(weir.Merge(joined, weir.Map(unknown, "unknown", func(s sale) (string, error) { return s.Shop + "?", nil })), "collect", show)
	})
	// Unordered output:
	// Kiel 300
	// south?
	// Kiel 50
	// Trier 700
}

func ExampleDeadLetters() {
	run(func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales))
		weir.Map(in, "validate", func(s sale) (sale, error) {
			if s.Cents < 100 {
				return s, event.Invalid(errors.New("too cheap"))
			}
			return s, nil
		})
		weir.Each(weir.DeadLetters(in, "validate"), "print", func(_ context.Context, d weir.Failed[sale]) error {
			fmt.Println(d.Ref, d.Input, d.Kind, d.Reason)
			return nil
		})
	})
	// Output: sales.out:3 {north 50} validation too cheap
}

func ExampleDefinition_Redrive() {
	data, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(data)
	least := 100
	flow := weir.Define("sales", func(f *weir.Flow) {
		valid := weir.Map(weir.From(f, "sales", weir.Slice(sales)), "validate", func(s sale) (sale, error) {
			if s.Cents < least {
				return s, event.Invalid(errors.New("too cheap"))
			}
			return s, nil
		})
		weir.Each(valid, "print", show)
	})
	ctx, opts := context.Background(), weir.Options{Dir: data, Logger: quiet}
	sum, err := flow.Run(ctx, opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum.Dead, "given up")

	least = 10 // the code is mended
	run, err := flow.Redrive(ctx, weir.Letters{Run: sum.Run, Stage: "validate"}, opts)
	if err != nil {
		log.Fatal(err)
	}
	if sum, err = run.Wait(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum.Dead, "given up")
	// Output:
	// {Shop:north Cents:300}
	// {Shop:south Cents:120}
	// {Shop:west Cents:700}
	// 1 given up
	// {Shop:north Cents:50}
	// 0 given up
}

func ExampleRecords() {
	run(func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales[:2]))
		weir.Each(weir.Records(in), "print", func(_ context.Context, r event.Record[sale]) error {
			fmt.Println(r.Ref, r.Value.Shop)
			return nil
		})
	})
	// Output:
	// sales.out:1 north
	// sales.out:2 south
}

func ExamplePerform() {
	charge := effect.Keyed("card.charge.v1", func(s sale) string { return fmt.Sprint(s.Shop, s.Cents) },
		func(_ context.Context, call effect.Call, s sale) (string, error) {
			if s.Cents < 100 {
				return "", effect.Permanent(errors.New("below the minimum"))
			}
			return "charged " + call.Key, nil
		})
	run(func(f *weir.Flow) {
		in := weir.From(f, "sales", weir.Slice(sales))
		charged, failed := weir.Perform(weir.KeyBy(in, func(s sale) string { return s.Shop }), "charge", charge, weir.Concurrency(2))
		weir.Each(charged, "print", show)
		weir.Each(failed, "complain", func(_ context.Context, f weir.Failed[sale]) error {
			fmt.Println(f.Ref, f.Reason)
			return nil
		})
	})
	// Unordered output:
	// charged north300
	// charged south120
	// charged west700
	// sales.out:3 below the minimum
}
