package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirflow/weir/effect"
)

// A shop is the world that orders act on: a file to which each deed is added once.
// One with the key of a deed that is there already gets that one's receipt, as from
// a service with idempotency keys; see the payments example for a real one.
type shop struct {
	reserve effect.Effect[Order, Receipt]
	release effect.Effect[Order, Receipt]
	charge  effect.Effect[Order, Receipt]
}

// A Receipt is a line of the shop's file.
type Receipt struct {
	ID    string    `json:"id"`
	Key   string    `json:"key"`
	What  string    `json:"what"`
	Order string    `json:"order"`
	At    time.Time `json:"at"`
}

func newShop(path string) shop {
	var file sync.Mutex // guards it
	does := func(what string) effect.Effect[Order, Receipt] {
		return effect.Keyed("shop."+what+".v1", func(o Order) string { return what + " " + o.ID },
			func(_ context.Context, call effect.Call, o Order) (Receipt, error) {
				file.Lock()
				defer file.Unlock()
				return enter(path, Receipt{Key: call.Key, What: what, Order: o.ID, At: time.Now().UTC()})
			})
	}
	return shop{reserve: does("reserve"), release: does("release"), charge: does("charge")}
}

// enter adds r to the file, unless its key is there.
func enter(path string, r Receipt) (Receipt, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return r, effect.DidNotHappen(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return r, effect.DidNotHappen(err)
	}
	defer f.Close()
	n, size := 0, int64(0) // of whole lines
	for in := json.NewDecoder(f); ; n++ {
		var was Receipt
		if err := in.Decode(&was); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return r, effect.DidNotHappen(fmt.Errorf("%s: %w", path, err))
			}
			break // the last line may be cut short: it was never answered for
		}
		if was.Key == r.Key {
			return was, nil
		}
		size = in.InputOffset() + 1
	}
	r.ID = fmt.Sprintf("%s-%d", r.What, n+1)
	line, err := json.Marshal(r)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return r, effect.DidNotHappen(err)
	}
	if _, err := f.WriteAt(append(line, '\n'), size); err != nil {
		return r, err
	}
	return r, f.Sync()
}
