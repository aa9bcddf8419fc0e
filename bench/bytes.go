package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// logBytes is how many bytes the frames of a run that has ended take.
func logBytes(dir string) (int64, error) {
	log, _, err := segment.Open(vfs.OS, dir, segment.Options{Sync: journal.Sync{Mode: journal.None}})
	if err != nil {
		return 0, err
	}
	n := log.Stats().Bytes
	return n, log.Close()
}

// runBytes compares the bytes of a log with those of the payloads in it.
func runBytes(ctx context.Context, e *env, r *Report) error {
	r.about(bytesAbout)
	t := r.table("B10: source, two maps, sink", "payload", "records", "B/payload", "B/record and hop in the log", "overhead", "sink and control, B/record")
	for _, w := range workloads() {
		if !e.wants(w.name) {
			continue
		}
		n := e.smaller(200_000)
		floor, err := w.floor(n)
		if err != nil {
			return err
		}
		payload := float64(floor.Bytes) / float64(n)
		// The sink writes into the log too: a run with one journal and one with three
		// tell what a journal costs.
		var size [2]int64
		for i, stages := range []int{1, 3} {
			s, err := inScratch(e, func(dir string) (Sample, error) {
				s, run, err := w.chain(ctx, filepath.Join(dir, "data"), stages, n, journal.None)
				if err != nil {
					return s, err
				}
				s.Bytes, err = logBytes(run)
				return s, err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			size[i] = s.Bytes
			r.keep(fmt.Sprintf("%s N=%d", w.name, stages), map[string][]Sample{appendWeir: {s}})
		}
		hop := float64(size[1]-size[0]) / float64(2*n)
		rest := float64(size[0])/float64(n) - hop
		t.add(w.name, count(float64(n)), fmt.Sprintf("%.1f", payload), fmt.Sprintf("%.1f", hop), fmt.Sprintf("%.1f", hop-payload), fmt.Sprintf("%.1f", rest))
		all := float64(size[1]) / float64(3*n)
		r.verdict(all <= payload+24, "B10 "+w.name+": log bytes per record and hop ≤ payload + 24 B, everything in the log counted", "payload + %.1f B", all-payload)
	}
	return nil
}

const bytesAbout = `Bytes of all frames in the log of a run of N=3 (headers, receipts, checkpoints and lifecycle records included), and of N=1; the difference of
the two, halved, is what one more journal costs a record. Batches are what the source gives (1,024 records) and what stages find when they look.`
