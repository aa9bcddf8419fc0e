package postgres

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A column is one of a table, as the catalog has it.
type column struct {
	Name      string
	OID       uint32 // of its type; of a domain that of what it is made of
	Type      string // as people write it
	Required  bool   // it may not be null, and nothing fills it in
	Generated bool   // the server computes it, and nothing else may be written
	Writable  bool   // we may
}

const columnsQuery = `
with recursive relation as (select $1::regclass as oid)
select a.attname,
       (with recursive b as (
          select t.oid, t.typtype, t.typbasetype from pg_type t where t.oid = a.atttypid
          union all
          select t.oid, t.typtype, t.typbasetype from b join pg_type t on t.oid = b.typbasetype where b.typtype = 'd')
        select oid from b where typtype <> 'd'),
       format_type(a.atttypid, a.atttypmod),
       (a.attnotnull or t.typnotnull) and not a.atthasdef and a.attidentity = '' and t.typdefault is null,
       a.attgenerated <> '' or a.attidentity = 'a',
       has_column_privilege(relation.oid, a.attnum, 'insert')
from relation join pg_attribute a on a.attrelid = relation.oid join pg_type t on t.oid = a.atttypid
where a.attnum > 0 and not a.attisdropped
order by a.attnum`

// inspect returns the columns of a table.
func (t table) inspect(ctx context.Context, tx pgx.Tx) ([]column, error) {
	var there bool
	if err := tx.QueryRow(ctx, "select to_regclass($1) is not null", t.sql()).Scan(&there); err != nil {
		return nil, explain(err)
	}
	if !there {
		return nil, fmt.Errorf("there is no table %s for us here; its name is taken as it is written, case and all", t)
	}
	rows, err := tx.Query(ctx, columnsQuery, t.sql())
	if err != nil {
		return nil, explain(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	return columns, explain(err)
}

const uniqueQuery = `
select exists (
  select from pg_index i
  where i.indrelid = $1::regclass and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null and i.indexprs is null
    and (select array_agg(a.attname::text order by a.attname)
         from unnest(i.indkey[0:i.indnkeyatts-1]) k join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k) = $2::text[])`

// unique checks that the table has a unique index of exactly these columns.
func (t table) unique(ctx context.Context, tx pgx.Tx, key []string) error {
	var there bool
	sorted := slices.Sorted(slices.Values(key))
	if err := tx.QueryRow(ctx, uniqueQuery, t.sql(), sorted).Scan(&there); err != nil {
		return explain(err)
	}
	if !there {
		return fmt.Errorf("table %s has no unique index of just these columns: create unique index on %s (%s)", t, t.sql(), columns(key))
	}
	return nil
}

// A slot says how a field is written into a column.
type slot struct {
	field
	oid    uint32
	format int16
	sql    string // the column's type
}

// match finds the column of each field, and what is wrong with them, all of it.
func match(t table, fields []field, columns []column, types *pgtype.Map) ([]slot, error) {
	var slots []slot
	var faults []string
	for _, f := range fields {
		at := slices.IndexFunc(columns, func(c column) bool { return c.Name == f.column })
		if at < 0 {
			faults = append(faults, fmt.Sprintf("there is no column %s for field %s", f.column, f.name))
			continue
		}
		c := columns[at]
		s := slot{field: f, oid: c.OID, sql: c.Type}
		var writes bool
		switch s.format, writes = formatOf(types, c.OID, f.typ); {
		case c.Generated:
			faults = append(faults, fmt.Sprintf("column %s is generated and cannot be written; tag field %s with `db:\"-\"`", c.Name, f.name))
		case !c.Writable:
			faults = append(faults, fmt.Sprintf("we have no right to insert into column %s: grant insert (%s) on %s to …", c.Name, c.Name, t.sql()))
		case !writes:
			faults = append(faults, fmt.Sprintf("column %s is %s, and a %v, as field %s is, does not go into it", c.Name, c.Type, f.typ, f.name))
		}
		slots = append(slots, s)
	}
	for _, c := range columns {
		if c.Required && !c.Generated && !slices.ContainsFunc(fields, func(f field) bool { return f.column == c.Name }) {
			faults = append(faults, fmt.Sprintf("column %s must not be null and has no default, and there is no field for it", c.Name))
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("table %s does not fit:\n  %s", t, strings.Join(faults, "\n  "))
	}
	return slots, nil
}

// formatOf returns how values of a Go type are written for a column, and whether
// they can be. Binary is preferred. Of a type that nobody registered, such as an
// enum, the text is what the value's own text is.
func formatOf(types *pgtype.Map, oid uint32, typ reflect.Type) (format int16, ok bool) {
	zero := reflect.Zero(typ).Interface()
	known, registered := types.TypeForOID(oid)
	if registered && known.Codec.FormatSupported(pgtype.BinaryFormatCode) && types.PlanEncode(oid, pgtype.BinaryFormatCode, zero) != nil {
		return pgtype.BinaryFormatCode, true
	}
	return pgtype.TextFormatCode, types.PlanEncode(oid, pgtype.TextFormatCode, zero) != nil
}
