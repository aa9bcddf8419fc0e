package postgres

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A table is named, with or without a schema.
type table []string

// parseTable reads the name of a table: "trades", "ledger.trades". Names are taken
// as they are written, case and all; a part with a dot in it is put in double
// quotes.
func parseTable(text string) (table, error) {
	bad := fmt.Errorf("table %q: want a name, or a schema and a name with a dot between them", text)
	var t table
	for rest := text; ; {
		var part string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			part, rest, ok = strings.Cut(quoted, `"`)
			if !ok || strings.HasPrefix(rest, `"`) {
				return nil, bad
			}
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			part, rest = rest[:end], rest[end:]
		}
		if part == "" || strings.ContainsAny(part, "\x00\"") {
			return nil, bad
		}
		t = append(t, part)
		if rest == "" {
			break
		}
		if rest[0] != '.' {
			return nil, bad
		}
		rest = rest[1:]
	}
	if len(t) > 2 {
		return nil, bad
	}
	return t, nil
}

// sql returns the name as statements hold it.
func (t table) sql() string { return pgx.Identifier(t).Sanitize() }

// String returns the name as people write it.
func (t table) String() string { return strings.Join(t, ".") }

// columns returns names as statements hold them.
func columns(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = pgx.Identifier{n}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}
