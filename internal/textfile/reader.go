package textfile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/weirflow/weir/internal/vfs"
)

// A Row is one row of a file as it stands there, without its line end.
type Row struct {
	Text []byte // valid until the next call of Next; the beginning only if Long
	Line int64  // of its first line, from 1
	At   int64  // offset of its first byte
	Long int64  // its length if it was longer than MaxRow, else zero
}

// A Reader reads a file row by row from a position.
type Reader struct {
	path  string
	file  vfs.File
	comma byte // the delimiter of CSV, whose quoted fields may hold line ends; zero for lines
	inode uint64
	size  int64

	buf        []byte // unread bytes are buf[start:end]
	start, end int
	eof        bool
	at         place // of buf[start]
}

// Open opens path at a position that Position returned, "" for the beginning.
// comma is the delimiter if the file is CSV: then line ends inside of a quoted
// field do not end a row. Zero means that each line is a row.
//
// It is a *ChangedError if the bytes before the position are not those that were
// read, and an error with advice if path is no readable file.
func Open(fsys vfs.FS, path, position string, comma byte) (*Reader, error) {
	at, err := parsePlace(position)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info, err := fsys.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, said{"there is no file " + path, err}
	case err != nil:
		return nil, refused("look at", path, err)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: name a file in it", path)
	}
	file, err := fsys.Open(path)
	if err != nil {
		return nil, refused("open", path, err)
	}
	r := &Reader{path: path, file: file, comma: comma, size: info.Size(), inode: inode(info), buf: make([]byte, 256<<10)}
	if err := r.seek(at); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

// seek reads the bytes before at once, to see that they are what was read then.
func (r *Reader) seek(at place) error {
	changed := func(what string) error {
		if at.Inode != 0 && r.inode != 0 && at.Inode != r.inode {
			what += " (it is another file now, by its inode)"
		}
		return &ChangedError{Path: r.path, What: what, Advice: "put the original back to continue this run, or start a new one"}
	}
	if r.size < at.Offset {
		return changed(fmt.Sprintf("the run has read %d bytes of it, now it has %d", at.Offset, r.size))
	}
	sum := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.LimitReader(r.file, at.Offset), r.buf); err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	if sum.Sum32() != at.CRC {
		return changed(fmt.Sprintf("its first %d bytes are not those that the run has read", at.Offset))
	}
	r.at = at
	if at.Offset == 0 {
		return r.skipMark()
	}
	return nil
}

// skipMark passes over a UTF-8 byte order mark.
func (r *Reader) skipMark() error {
	for r.end < 3 && !r.eof {
		if err := r.fill(); err != nil {
			return err
		}
	}
	if mark := []byte("\xef\xbb\xbf"); bytes.HasPrefix(r.buf[:r.end], mark) {
		r.take(len(mark), 0)
	}
	return nil
}

// fill reads more; at the end of the file it sets eof.
func (r *Reader) fill() error {
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.end -= r.start
		r.start = 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.file.Read(r.buf[r.end:])
	r.end += n
	if errors.Is(err, io.EOF) {
		r.eof = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s at offset %d: %w", r.path, r.at.Offset+int64(r.end-r.start), err)
	}
	return nil
}

// take passes over n bytes that hold lines line ends.
func (r *Reader) take(n int, lines int64) {
	r.at.CRC = crc32.Update(r.at.CRC, castagnoli, r.buf[r.start:r.start+n])
	r.start += n
	r.at.Offset += int64(n)
	r.at.Line += lines
}

// Next returns the next row, io.EOF after the last. A last line without a line
// end is a row; an empty file has none.
func (r *Reader) Next() (Row, error) {
	scan := scanner{comma: r.comma}
	for done := 0; ; {
		end, ok := scan.find(r.buf[r.start+done : r.end])
		done += end
		if ok {
			return r.row(done, scan.lines), nil
		}
		if done > MaxRow {
			return r.long(scan)
		}
		if r.eof {
			if done == 0 {
				return Row{}, io.EOF
			}
			if scan.inQuotes { // an open quote swallows the rest: give its first line only
				return r.firstLine(), nil
			}
			return r.row(done, scan.lines+1), nil
		}
		if err := r.fill(); err != nil {
			return Row{}, err
		}
	}
}

// row takes the n bytes that hold the next row.
func (r *Reader) row(n int, lines int64) Row {
	row := Row{Text: trimEnd(r.buf[r.start : r.start+n]), Line: r.at.Line + 1, At: r.at.Offset}
	r.take(n, lines)
	r.at.Row++
	return row
}

func (r *Reader) firstLine() Row {
	n, lines := r.end-r.start, int64(1)
	if i := bytes.IndexByte(r.buf[r.start:r.end], '\n'); i >= 0 {
		n = i + 1
	}
	return r.row(n, lines)
}

// long takes a row that is longer than MaxRow. One that is long because a quote
// was never closed ends with its first line.
func (r *Reader) long(scan scanner) (Row, error) {
	if scan.inQuotes {
		if i := bytes.IndexByte(r.buf[r.start:r.end], '\n'); i >= 0 {
			return r.row(i+1, 1), nil
		}
	}
	row := Row{Text: bytes.Clone(r.buf[r.start : r.start+KeptOfLong]), Line: r.at.Line + 1, At: r.at.Offset}
	for {
		i := bytes.IndexByte(r.buf[r.start:r.end], '\n')
		if i >= 0 {
			r.take(i+1, 1)
			break
		}
		r.take(r.end-r.start, 0)
		if r.eof {
			r.at.Line++
			break
		}
		if err := r.fill(); err != nil {
			return Row{}, err
		}
	}
	r.at.Row++
	row.Long = r.at.Offset - row.At
	return row, nil
}

// Position is where the next row begins; see Open.
func (r *Reader) Position() string {
	p := r.at
	p.Size, p.Inode = r.size, r.inode
	return p.String()
}

// Rows returns how many rows come before the position, the header included.
func (r *Reader) Rows() int64 { return r.at.Row }

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

func trimEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

// A scanner looks for the end of a row, in several pieces if need be. Quotes
// count where RFC 4180 has them: at the beginning of a field.
type scanner struct {
	comma    byte
	inQuotes bool
	mid      bool // inside of an unquoted field
	lines    int64
}

// find returns the length of what belongs to the row and whether its end was
// found.
func (s *scanner) find(p []byte) (n int, ok bool) {
	if s.comma == 0 {
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			s.lines++
			return i + 1, true
		}
		return len(p), false
	}
	for i, c := range p {
		switch {
		case c == '\n':
			s.lines++
			if !s.inQuotes {
				return i + 1, true
			}
		case c == '"':
			// A quote inside of quotes ends them; one right behind it opens them
			// again, which is how a quote is escaped.
			if s.inQuotes || !s.mid {
				s.inQuotes = !s.inQuotes
			}
		case !s.inQuotes:
			s.mid = c != s.comma
		}
	}
	return len(p), false
}

// inode returns the file's inode, zero where there is none.
func inode(info fs.FileInfo) uint64 {
	id, _ := vfs.IdentityOf(info)
	return id.Inode
}
