package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// A judge compares what payments says of each order with the ledger of the service
// and with the orders, which it reads in the plainest way.
type judge struct {
	orders  map[string][]Order        // by number
	bad     int                       // rows that cannot be read
	ledger  map[string]map[string]int // how often what happened, by order
	paid    map[string][]Paid
	notices map[string][]Notice
	cases   map[string][]Case
	badRows int
}

func newJudge(c *campaign) (*judge, error) {
	j := &judge{orders: map[string][]Order{}}
	if err := j.readOrders(); err != nil {
		return nil, err
	}
	out := filepath.Join(c.dir, "out")
	rows, err := readCSV(filepath.Join(out, "paid.csv"))
	if err != nil {
		return nil, err
	}
	j.paid = map[string][]Paid{}
	for _, r := range rows[1:] {
		cents, err := strconv.ParseInt(r[2], 10, 64)
		if err != nil {
			return nil, err
		}
		j.paid[r[0]] = append(j.paid[r[0]], Paid{ID: r[0], Customer: r[1], Cents: cents})
	}
	notices, err1 := readLines[Notice](filepath.Join(out, "notices.jsonl"))
	cases, err2 := readLines[Case](filepath.Join(out, "review.jsonl"))
	bad, err3 := readLines[json.RawMessage](filepath.Join(out, "bad_rows.jsonl"))
	ledger, err4 := readLedger(c.ledger())
	j.notices, j.cases, j.badRows, j.ledger = map[string][]Notice{}, map[string][]Case{}, len(bad), ledger
	for _, n := range notices {
		j.notices[n.ID] = append(j.notices[n.ID], n)
	}
	for _, x := range cases {
		j.cases[x.Order.ID] = append(j.cases[x.Order.ID], x)
	}
	return j, errors.Join(err1, err2, err3, err4)
}

func (j *judge) readOrders() error {
	rows, err := readCSV("web.csv")
	if err != nil {
		return err
	}
	for _, r := range rows[1:] {
		var cents int64
		if err = errors.New("columns are missing"); len(r) == 4 {
			cents, err = strconv.ParseInt(r[3], 10, 64)
		}
		if err != nil || r[0] == "" || r[1] == "" {
			j.bad++
			continue
		}
		j.orders[r[0]] = append(j.orders[r[0]], Order{r[0], r[1], r[2], cents})
	}
	text, err := os.ReadFile("store.jsonl")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		var o Order
		if err := json.Unmarshal(line, &o); err != nil || o.ID == "" {
			j.bad++
			continue
		}
		j.orders[o.ID] = append(j.orders[o.ID], o)
	}
	return nil
}

func readCSV(name string) ([][]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	return r.ReadAll()
}

func readLines[T any](name string) (all []T, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		var v T
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// readLedger counts what happened to each order; what was declined did not.
func readLedger(name string) (map[string]map[string]int, error) {
	entries, err := readLines[struct {
		Kind, Order string
		OK          bool
	}](name)
	of := map[string]map[string]int{}
	for _, e := range entries {
		if of[e.Order] == nil {
			of[e.Order] = map[string]int{}
		}
		if e.OK {
			of[e.Order][e.Kind]++
		}
	}
	return of, err
}

// judge says what is wrong.
func (j *judge) judge(sum *tally) error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if j.badRows != j.bad || j.bad == 0 {
		bad("%d bad rows, want %d", j.badRows, j.bad)
	}
	for _, id := range slices.Sorted(maps.Keys(j.orders)) {
		if err := j.one(id, sum); err != nil {
			bad("order %s: %w; the ledger has %v", id, err, j.ledger[id])
		}
	}
	for _, known := range [][]string{
		slices.Collect(maps.Keys(j.ledger)), slices.Collect(maps.Keys(j.paid)),
		slices.Collect(maps.Keys(j.notices)), slices.Collect(maps.Keys(j.cases)),
	} {
		for _, id := range known {
			if _, ok := j.orders[id]; !ok {
				bad("%q is no order", id)
			}
		}
	}
	return errors.Join(wrong...)
}

// one judges an order: as often as it came it has one end, and at most one of them
// moved money or goods.
func (j *judge) one(id string, sum *tally) error {
	var again int
	var notice *Notice
	for i := range j.notices[id] {
		if n := &j.notices[id][i]; n.Reason == "we have this order already" {
			again++
		} else {
			notice = n
		}
	}
	if ends := len(j.paid[id]) + len(j.notices[id]) + len(j.cases[id]); ends != len(j.orders[id]) || again != len(j.orders[id])-1 {
		return fmt.Errorf("it came %d times, was paid %d times, refused %d times, of which %d as known already, and is to be looked at %d times",
			len(j.orders[id]), len(j.paid[id]), len(j.notices[id]), again, len(j.cases[id]))
	}
	l, cents := j.ledger[id], j.orders[id][0].Cents
	for kind, n := range l { // in any order: each is judged by itself
		if n > 1 {
			return fmt.Errorf("%d times %s", n, kind)
		}
	}
	want := func(what string, done ...string) error {
		for _, kind := range []string{"authorization", "charge", "booking", "shipment", "cancellation", "refund"} {
			if n := l[kind]; (n == 1) != slices.Contains(done, kind) {
				return fmt.Errorf("%s, and %d times %s", what, n, kind)
			}
		}
		return nil
	}
	refuses := cents <= 0 || cents%100 == 7 || cents%100 == 13 || cents%100 == 17
	switch {
	case len(j.paid[id]) == 1:
		sum.paid.Add(1)
		if refuses || cents > suspectCents {
			return fmt.Errorf("paid with %d cents", cents)
		}
		return want("paid", "authorization", "charge", "booking", "shipment")
	case notice != nil && cents <= 0:
		return want("nothing to pay")
	case notice != nil && cents%100 == 7:
		return want("declined")
	case notice != nil && cents%100 == 13:
		sum.back.Add(1)
		return want("out of stock", "authorization", "charge", "refund")
	case notice != nil && cents%100 == 17:
		sum.back.Add(1)
		return want("no address", "authorization", "charge", "booking", "cancellation", "refund")
	case notice != nil:
		return fmt.Errorf("refused: %s", notice.Reason)
	case cents > suspectCents:
		return want("suspect")
	}
	sum.review.Add(1)
	x := j.cases[id][0]
	left := l["charge"]-l["refund"] != 0 || l["booking"]-l["cancellation"] != 0 || l["shipment"] != 0
	if x.Stands == "no" && left || x.Stands == "yes" && !left {
		return fmt.Errorf("to be looked at, and what stands: %s (%s)", x.Stands, x.Reason)
	}
	return nil
}
