// Command flights finds out where flights leave late.
//
// It joins flights with a table of airports, splits them into on time and late
// (more than 15 minutes), and writes three files: the located departures and the
// flights of unknown airports as it goes, the punctuality of each airport at the
// end. Kill it whenever you like and run the same command again: the files come
// out the same.
package main

import (
	"cmp"
	"errors"
	"path/filepath"
	"strconv"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/csvfile"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/policy"
)

// A Flight is one line of flights.jsonl.
type Flight struct {
	Date        string `json:"date"`
	Delay       *int   `json:"delay"` // minutes; a pointer, because absent is not on time
	Distance    int    `json:"distance"`
	Origin      string `json:"origin"`
	Destination string `json:"destination"`
}

// Validate refuses a flight without a delay: it becomes bad input of its source.
func (f Flight) Validate() error {
	if f.Delay == nil {
		return errors.New("flight without a delay")
	}
	return nil
}

// An Airport is one row of airports.csv.
type Airport struct {
	IATA string `json:"iata" csv:"iata"`
	City string `json:"city" csv:"city"`
}

// A Departure is a flight with the city it left.
type Departure struct {
	Origin string `json:"origin"`
	City   string `json:"city"`
	Delay  int    `json:"delay"` // minutes
	Late   bool   `json:"late"`
}

// Punctuality adds up the departures of one airport.
type Punctuality struct {
	Origin  string `json:"origin"`
	City    string `json:"city"`
	Flights int    `json:"flights"`
	Late    int    `json:"late"`
	Minutes int    `json:"minutes"` // sum of the delays
}

// Mean is the mean delay in minutes, with two decimals.
func (p Punctuality) Mean() string {
	return strconv.FormatFloat(float64(p.Minutes)/float64(p.Flights), 'f', 2, 64)
}

// A Row is one row of late_by_airport.csv.
type Row struct {
	Origin  string `json:"origin" csv:"origin"`
	City    string `json:"city" csv:"city"`
	Flights int    `json:"flights" csv:"flights"`
	Late    int    `json:"late" csv:"late"`
	Mean    string `json:"mean_delay_minutes" csv:"mean_delay_minutes"`
}

// Config is what can be set: by flag, environment or file.
type Config struct {
	Flights  weir.Path `help:"flights, one JSON object a line"`
	Airports weir.Path `help:"table of airports, CSV"`
	Out      weir.Path `help:"folder for the results"`
	Rate     float64   `help:"flights per second, 0 for no limit"`
}

var flights = weir.DefineWith("flights", Config{Flights: "flights.jsonl", Airports: "airports.csv", Out: "out"}, build)

func build(f *weir.Flow, cfg Config) {
	all := weir.From(f, "flights", jsonl.Read[Flight](string(cfg.Flights)), policy.Rate{PerSecond: cfg.Rate})
	airports := weir.From(f, "airports", csvfile.Read[Airport](string(cfg.Airports)))

	table := weir.TableOf(weir.KeyBy(airports, func(a Airport) string { return a.IATA }))
	located, unknown := weir.Join(weir.KeyBy(all, func(f Flight) string { return f.Origin }), table, "locate", locate)
	onTime, late := weir.Split2(located, "punctual", split, weir.Ports("on_time", "late"))

	stats := weir.Reduce(weir.KeyBy(weir.Merge(onTime, late), func(d Departure) string { return d.Origin }), "per_origin",
		func(origin string) Punctuality { return Punctuality{Origin: origin} }, add)
	rows := weir.Map(stats, "rows", row)
	worst := weir.TopN(weir.All(rows), "worst", 10, func(r Row) string { return r.Origin }, byLate)

	out := func(name string) string { return filepath.Join(string(cfg.Out), name) }
	weir.Into(located, "write_departures", jsonl.Write[Departure](out("departures.jsonl")))
	weir.Into(unknown, "write_unknown", jsonl.Write[Flight](out("unknown_airports.jsonl")))
	weir.Into(rows, "write_stats", csvfile.Write[Row](out("late_by_airport.csv")))
	weir.Into(weir.Flatten(worst, "ten_worst"), "print", console.Table[Row]("The ten worst airports by late flights"))
}

func locate(f Flight, a Airport) (Departure, error) {
	return Departure{Origin: f.Origin, City: a.City, Delay: *f.Delay, Late: *f.Delay > 15}, nil
}

func split(d Departure, onTime, late weir.Emit[Departure]) error {
	if d.Late {
		late(d)
	} else {
		onTime(d)
	}
	return nil
}

func add(p *Punctuality, d Departure) error {
	p.City = d.City
	p.Flights++
	p.Minutes += d.Delay
	if d.Late {
		p.Late++
	}
	return nil
}

func row(p Punctuality) (Row, error) {
	return Row{Origin: p.Origin, City: p.City, Flights: p.Flights, Late: p.Late, Mean: p.Mean()}, nil
}

// byLate puts the most late flights first; among equals the alphabet decides.
func byLate(a, b Row) int {
	return cmp.Or(cmp.Compare(b.Late, a.Late), cmp.Compare(a.Origin, b.Origin))
}

func main() { app.Main(flights) }
