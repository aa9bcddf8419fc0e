package segment_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// FuzzRun writes bytes over a place in a file of a run, with checksums that fit
// if mend is set, and does everything that can be done with a run. Nothing may
// panic, wait for ever or take memory out of proportion; what is read must be
// whole transitions of what was written.
func FuzzRun(f *testing.F) {
	o := segment.Options{SegmentSize: 1 << 10}
	made := sample(f, o, false)
	names := files(f, made, dir)
	for i, name := range names {
		f.Add(uint8(i), uint32(0), []byte{}, false)
		f.Add(uint8(i), uint32(100), readFile(f, made, name)[:min(64, len(readFile(f, made, name)))], false)
		f.Add(uint8(i), uint32(512), []byte("\xf7WF\x1e"), true)
		f.Add(uint8(i), uint32(512+8), []byte{1, 0xff, 0, 0, 0xff, 0xff, 0xff, 0x7f}, true)
		f.Add(uint8(i), uint32(1<<20), []byte{1}, true)
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, data []byte, mend bool) {
		disk := made.Kill()
		name := names[int(which)%len(names)]
		file := readFile(t, disk, name)
		at %= uint32(len(file)) + 2<<10
		if need := int(at) + len(data); need > len(file) {
			file = append(file, make([]byte, need-len(file))...)
		}
		copy(file[at:], data)
		if mend {
			mendSegment(file)
		}
		writeFile(t, disk, name, file)

		if v, err := segment.OpenView(disk, dir); err == nil {
			drain(v.Read(0))
			drain(v.ReadDurable(5))
			_, _ = v.Find("orders.out", 20)
			_, _ = v.ReadSnapshot("ship/eu-11.snap")
			_, _ = v.Tails(), v.Stats()
			if v.Durable() > v.Head() {
				t.Errorf("durable %d, head %d", v.Durable(), v.Head())
			}
			_ = v.Close()
		}
		if found, err := segment.Check(disk, dir); err == nil && len(found.Damage) > segment.MaxDamage {
			t.Errorf("%d findings", len(found.Damage))
		}
		l, _, err := segment.Open(disk, dir, o)
		if err != nil {
			return
		}
		defer l.Close()
		drain(l.Read(0))
		_, _ = l.Find("orders.out", 20)
		for stage := range l.Tails() {
			if stage == "" {
				continue
			}
			_, _ = l.Append(t.Context(), journal.Urgent, journal.Frame{Stage: stage, Body: []byte("body")})
		}
	})
}

func drain(r journal.Reader, err error) {
	if err != nil {
		return
	}
	defer r.Close()
	for {
		if _, err := r.Next(); err != nil {
			if !errors.Is(err, io.EOF) {
				return
			}
			return
		}
	}
}

// mendSegment gives header, frames and trailer of a segment the checksums that fit
// what is in them.
func mendSegment(b []byte) {
	if len(b) < 1<<9 {
		return
	}
	le := binary.LittleEndian
	table := crc32.MakeTable(crc32.Castagnoli)
	seed := crc32.Checksum([]byte(run.Run), table)
	le.PutUint32(b[508:], crc32.Update(seed, table, b[:508]))
	number := b[16:24]
	for at := 512; at+36 <= len(b); {
		end := at + 36 + int(le.Uint32(b[at+12:]))
		if string(b[at:at+4]) != "\xf7WF\x1e" || end > len(b) || end < at {
			break
		}
		place := append(append([]byte{}, number...), le.AppendUint64(nil, uint64(at))...)
		le.PutUint32(b[at+4:], crc32.Update(crc32.Update(seed, table, place), table, b[at+8:end]))
		at = end
	}
	t := b[len(b)-96:]
	if string(t[:8]) == "\xf7WEIREND" {
		if end := le.Uint64(t[40:]); end <= uint64(len(b)-96) {
			le.PutUint32(t[80:], crc32.Update(seed, table, b[end:len(b)-96]))
		}
		le.PutUint32(t[92:], crc32.Update(seed, table, t[:92]))
	}
}

// FuzzManifest: bytes that are no manifest are told from one, without a panic.
func FuzzManifest(f *testing.F) {
	made := sample(f, segment.Options{}, true)
	good := readFile(f, made, dir+"/manifest.json")
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfs.NewMemory()
		if err := disk.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, disk, dir+"/manifest.json", b)
		m, err := segment.ReadManifest(disk, dir)
		if err == nil && (m.Run == "" || len(m.Epochs) == 0) {
			t.Errorf("accepted %+v", m)
		}
	})
}
