package postgres

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
)

// rows are encoded, each with the same columns: value k of row i is cell
// i*columns+k.
type rows struct {
	columns int
	buf     []byte
	cells   []cell
	values  [][]byte // reused by row
}

// A cell is buf[from:to], or null.
type cell struct{ from, to int } // to is negative for null

// encode makes rows of a batch. Its error is about one record of it, which no
// repetition mends.
func encode[T any](r *rows, slots []slot, types *pgtype.Map, id bool, batch []weir.Delivery[T]) error {
	r.columns = len(slots)
	if id {
		r.columns++
	}
	if r.buf == nil {
		r.buf = []byte{} // what is appended to nil and empty would be null
	}
	r.buf, r.cells = r.buf[:0], r.cells[:0]
	for i := range batch {
		v := reflect.ValueOf(&batch[i].Value).Elem()
		for k := range slots {
			s := &slots[k]
			from := len(r.buf)
			buf, err := types.Encode(s.oid, s.format, v.FieldByIndex(s.index).Interface(), r.buf)
			switch {
			case err != nil: // which may repeat the value
				return event.Invalid(fmt.Errorf("the value of field %s does not go into column %s, which is %s", s.name, s.column, s.sql))
			case buf == nil:
				r.cells = append(r.cells, cell{0, -1})
			default:
				r.buf = buf
				r.cells = append(r.cells, cell{from, len(buf)})
			}
		}
		if id {
			from := len(r.buf)
			r.buf = append(r.buf, batch[i].ID...)
			r.cells = append(r.cells, cell{from, len(r.buf)})
		}
	}
	return nil
}

// len returns how many rows there are.
func (r *rows) len() int { return len(r.cells) / r.columns }

// row returns the values of a row, null as nil, until the next call.
func (r *rows) row(i int) [][]byte {
	r.values = r.values[:0]
	for _, c := range r.cells[i*r.columns : (i+1)*r.columns] {
		if c.to < 0 {
			r.values = append(r.values, nil)
			continue
		}
		r.values = append(r.values, r.buf[c.from:c.to:c.to])
	}
	return r.values
}

// appendBinary appends the rows as COPY … WITH (FORMAT binary) reads them.
func (r *rows) appendBinary(to []byte) []byte {
	to = append(to, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for i := range r.len() {
		to = binary.BigEndian.AppendUint16(to, uint16(r.columns))
		for _, v := range r.row(i) {
			if v == nil {
				to = append(to, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			to = append(binary.BigEndian.AppendUint32(to, uint32(len(v))), v...)
		}
	}
	return append(to, 0xff, 0xff)
}

// appendText appends the rows as COPY … WITH (FORMAT text) reads them.
func (r *rows) appendText(to []byte) []byte {
	for i := range r.len() {
		for k, v := range r.row(i) {
			if k > 0 {
				to = append(to, '\t')
			}
			if v == nil {
				to = append(to, `\N`...)
				continue
			}
			for _, c := range v {
				switch c {
				case '\\':
					to = append(to, `\\`...)
				case '\t':
					to = append(to, `\t`...)
				case '\n':
					to = append(to, `\n`...)
				case '\r':
					to = append(to, `\r`...)
				default:
					to = append(to, c)
				}
			}
		}
		to = append(to, '\n')
	}
	return to
}
