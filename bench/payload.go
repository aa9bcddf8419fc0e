package main

import (
	"crypto/sha256"
	"hash/crc32"
	"runtime"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

// A Small payload encodes to about 55 bytes.
type Small struct {
	ID      uint64 `json:"id"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
	Hops    int    `json:"hops"`
}

// A Ten has ten fields, all of which can be shared between readers.
type Ten struct {
	ID       uint64  `json:"id"`
	Customer string  `json:"customer"`
	Product  string  `json:"product"`
	Currency string  `json:"currency"`
	Country  string  `json:"country"`
	Cents    int64   `json:"cents"`
	Quantity int     `json:"quantity"`
	Discount float64 `json:"discount"`
	Express  bool    `json:"express"`
	Hops     int     `json:"hops"`
}

// A Line is one of an order's.
type Line struct {
	SKU   string `json:"sku"`
	Count int    `json:"count"`
	Cents int64  `json:"cents"`
}

// A Rich payload has a time and a slice, so every reader needs a copy.
type Rich struct {
	ID       uint64    `json:"id"`
	Customer string    `json:"customer"`
	Placed   time.Time `json:"placed"`
	Lines    []Line    `json:"lines"`
	Hops     int       `json:"hops"`
}

var accounts = [...]string{"DE-4711", "FR-1789", "AT-0815", "NL-2024", "IT-1861"}

func makeSmall(i int) Small {
	return Small{ID: uint64(1_000_000 + i), Account: accounts[i%len(accounts)], Cents: int64(i%9000 + 1000)}
}

func makeTen(i int) Ten {
	return Ten{
		ID: uint64(1_000_000 + i), Customer: "customer-" + accounts[i%len(accounts)], Product: "espresso machine, steel",
		Currency: "EUR", Country: "DE", Cents: int64(i%90000 + 1000), Quantity: i%7 + 1,
		Discount: float64(i%20) / 100, Express: i%3 == 0,
	}
}

func makeRich(i int) Rich {
	return Rich{
		ID: uint64(1_000_000 + i), Customer: "customer-" + accounts[i%len(accounts)],
		Placed: time.Date(2026, 3, 14, 9, 26, 53, 589_000_000+i%1_000_000, time.UTC),
		Lines:  []Line{{"ESP-100", 1, int64(i%90000 + 1000)}, {"CUP-002", i%6 + 1, 890}},
	}
}

func hopSmall(v Small) (Small, error) { v.Hops++; return v, nil }
func hopTen(v Ten) (Ten, error)       { v.Hops++; return v, nil }
func hopRich(v Rich) (Rich, error)    { v.Hops++; return v, nil }

// ring is how many different values a source repeats.
const ring = 4096

func valuesOf[T any](of func(int) T) []T {
	vs := make([]T, ring)
	for i := range vs {
		vs[i] = of(i)
	}
	return vs
}

// codecFloor does for n payloads what nobody can leave out who records them:
// encode, copy into a buffer that is written later, CRC-32C of each, SHA-256 over
// everything. The sample says how many bytes a payload has.
func codecFloor[T any](values []T, hop func(T) (T, error), n int) (Sample, error) {
	typ, err := payload.For[T](event.JSON)
	if err != nil {
		return Sample{}, err
	}
	var (
		encoded []byte
		buffer  = make([]byte, 0, 128<<10)
		chain   = sha256.New()
		crc     uint32
		total   int64
		s       = Sample{Records: int64(n)}
	)
	runtime.GC()
	watch := startWatch()
	for i := range n {
		v, err := hop(values[i%len(values)])
		if err != nil {
			return s, err
		}
		if encoded, err = typ.Append(encoded[:0], &v); err != nil {
			return s, err
		}
		crc ^= crc32.Checksum(encoded, castagnoli)
		buffer = append(buffer, encoded...)
		total += int64(len(encoded))
		if len(buffer) >= 64<<10 {
			chain.Write(buffer)
			buffer = buffer[:0]
		}
	}
	chain.Write(buffer)
	watch.stop(&s)
	s.Bytes = total
	keep = crc ^ uint32(chain.Sum(nil)[0])
	return s, nil
}

// keep holds a result, so that computing it is not left out.
var keep uint32
