// Command orders writes the orders that the payments example reads: web.csv and
// store.jsonl, the same each time. There is everything in them that orders of real
// shops have: rows that cannot be read, orders of nothing, orders that are too
// large to be true, and orders that come twice.
//
//	go run ./orders
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	webOrders   = 300
	storeOrders = 200
)

// An order is a line of either file.
type order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Cents    int64  `json:"cents"`
}

func main() {
	dir := flag.String("dir", ".", "where to write them")
	flag.Parse()
	for name, text := range files() {
		if err := os.WriteFile(filepath.Join(*dir, name), []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "orders:", err)
			os.Exit(1)
		}
	}
}

// files returns both files.
func files() map[string]string {
	rng := rand.New(rand.NewPCG(7, 0))
	web := make([]order, webOrders)
	for i := range web {
		web[i] = some(rng, fmt.Sprintf("W%d", 1001+i))
	}
	store := make([]order, storeOrders)
	for i := range store {
		store[i] = some(rng, fmt.Sprintf("S%d", 5001+i))
	}
	special(rng, web)
	special(rng, store)

	web = slices.Insert(web, 120, web[80]) // sent twice by an impatient customer
	store[50] = web[40]                    // typed in again at the store
	store[51] = web[41]                    // and with another price
	store[51].Cents += 100

	rows := []string{"id,customer,item,cents"}
	for _, o := range web {
		rows = append(rows, fmt.Sprintf("%s,%s,%s,%d", o.ID, o.Customer, o.Item, o.Cents))
	}
	rows = slices.Insert(rows, 30, "W9001,ada,lamp")           // a column is missing
	rows = slices.Insert(rows, 200, `W9002,bob,chair,"12,50"`) // this is no number of cents
	rows = slices.Insert(rows, 260, "W9003,,desk,4900")        // nobody ordered it

	lines := make([]string, 0, len(store))
	for _, o := range store {
		b, _ := json.Marshal(o) // it is text and a number
		lines = append(lines, string(b))
	}
	lines = slices.Insert(lines, 70, `{"id":"S9001","customer":"eve","item":"sof`) // cut short
	lines = slices.Insert(lines, 150, `{"customer":"dan","item":"shelf","cents":7900}`)
	return map[string]string{
		"web.csv": strings.Join(rows, "\n") + "\n", "store.jsonl": strings.Join(lines, "\n") + "\n",
	}
}

var (
	customers = strings.Fields("ada ben cleo dan eve finn gina hugo iris jack kim leo mia noah olga pete quinn rosa sam tess uma vic wes yara zoe")
	items     = strings.Fields("lamp chair desk shelf sofa rug mirror clock vase stool")
)

// some is an ordinary order: none of those that the gateway refuses.
func some(rng *rand.Rand, id string) order {
	o := order{ID: id, Customer: customers[rng.IntN(len(customers))], Item: items[rng.IntN(len(items))]}
	o.Cents = 100*(10+rng.Int64N(900)) + []int64{0, 50, 90, 95, 99}[rng.IntN(5)]
	return o
}

// special makes some of the orders special. The last two digits of an amount decide
// what the gateway refuses.
func special(rng *rand.Rand, orders []order) {
	at := rng.Perm(len(orders))
	take := func(n int, change func(o *order)) {
		for _, i := range at[:n] {
			change(&orders[i])
		}
		at = at[n:]
	}
	take(3, func(o *order) { o.Cents = 0 })
	take(1, func(o *order) { o.Cents = -o.Cents })
	take(4, func(o *order) { o.Cents += 600_000 }) // suspect
	take(9, func(o *order) { o.Cents = o.Cents/100*100 + 7 })
	take(6, func(o *order) { o.Cents = o.Cents/100*100 + 13 })
	take(4, func(o *order) { o.Cents = o.Cents/100*100 + 17 })
}
