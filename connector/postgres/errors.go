package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// ErrFenced says that another process has taken over what a sink delivers: the run
// goes on there, or in a copy of its directory. Nothing of the batch was committed.
var ErrFenced = errors.New("another process has taken over")

// A dbError is an error in words that hold no values: one of the server is without
// its detail, and without its message where that repeats them.
type dbError struct {
	err  error
	text string
	kind event.Kind
}

func (e *dbError) Error() string         { return e.text }
func (e *dbError) Unwrap() error         { return e.err }
func (e *dbError) ErrorKind() event.Kind { return e.kind }

// explain makes of an error of pgx one for people and for the log, which may pass.
// What is said around an error of the server stays.
func explain(err error) error { return explainAs(err, kindOf) }

// explainRow is explain for statements that write rows: of an error that is about a
// row the kind says that no repetition mends it.
func explainRow(err error) error { return explainAs(err, rowKindOf) }

func explainAs(err error, kind func(code string) event.Kind) error {
	if err == nil {
		return nil
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	_, done := errors.AsType[*dbError](err)
	switch {
	case done, !ok && event.KindOf(err) != event.KindUnknown:
		return err
	case ok:
		return &dbError{err, strings.Replace(err.Error(), pg.Error(), describe(pg), 1), kind(pg.Code)}
	case errors.Is(err, context.DeadlineExceeded):
		return &dbError{err, err.Error(), event.KindTimeout}
	default:
		return &dbError{err, err.Error(), event.KindRemote}
	}
}

// describe says what the server said, without values.
func describe(pg *pgconn.PgError) string {
	var b strings.Builder
	b.WriteString(conditions[pg.Code])
	if b.Len() == 0 {
		b.WriteString(classes[class(pg.Code)])
	}
	if b.Len() == 0 {
		b.WriteString("error")
	}
	fmt.Fprintf(&b, " (SQLSTATE %s)", pg.Code)
	for _, at := range []struct{ what, name string }{
		{"constraint", pg.ConstraintName}, {"table", name(pg.SchemaName, pg.TableName)}, {"column", pg.ColumnName}, {"type", pg.DataTypeName},
	} {
		if at.name != "" {
			fmt.Fprintf(&b, ", %s %s", at.what, at.name)
		}
	}
	if speaks[class(pg.Code)] && pg.Code != "42601" { // a syntax error quotes the statement
		b.WriteString(": " + pg.Message)
	}
	return b.String()
}

func name(schema, name string) string {
	if schema == "" || name == "" {
		return name
	}
	return schema + "." + name
}

func class(code string) string { return code[:min(2, len(code))] }

// refusal reports whether an error is about a row, so that it will come again with
// that row and only with it.
func refusal(code string) bool {
	switch class(code) {
	case "21", "22", "23", "44", "54":
		return true
	}
	return code == "P0001" // a trigger that raises
}

func kindOf(code string) event.Kind {
	switch code {
	case "57014", "55P03", "25P03":
		return event.KindTimeout
	case "53300":
		return event.KindRateLimited
	default:
		return event.KindRemote
	}
}

func rowKindOf(code string) event.Kind {
	switch {
	case !refusal(code):
		return kindOf(code)
	case class(code) == "54":
		return event.KindTooLarge
	case code == "P0001":
		return event.KindDomain
	default:
		return event.KindValidation
	}
}

// verdict makes of an error of an effect's transaction, which was rolled back, what
// it means for the call: a refusal is final, anything else may pass. What its author
// marked stays so.
func verdict(err error) error {
	err = explainRow(err)
	if _, marked := errors.AsType[*plan.RefusedError](err); marked {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && refusal(pg.Code) {
		return effect.Permanent(err)
	}
	return effect.DidNotHappen(err)
}

// rolledBack reports whether an error of a commit says that there was none. What
// ends a connection may come when it was made.
func rolledBack(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, pgx.ErrTxCommitRollback) || ok && pg.SeverityUnlocalized == "ERROR"
}

// speaks are the classes whose messages name things of the schema or the server,
// and no values.
var speaks = map[string]bool{
	"08": true, "0A": true, "25": true, "28": true, "3D": true, "3F": true, "40": true, "42": true, "53": true, "55": true, "57": true, "58": true, "XX": true,
}

// What SQLSTATEs are called, as in appendix A of PostgreSQL's manual.
var (
	conditions = map[string]string{
		"22001": "string data right truncation",
		"22003": "numeric value out of range",
		"22007": "invalid datetime format",
		"22008": "datetime field overflow",
		"22021": "character not in repertoire",
		"22P02": "invalid text representation",
		"22P03": "invalid binary representation",
		"22P05": "untranslatable character",
		"23502": "not null violation",
		"23503": "foreign key violation",
		"23505": "unique violation",
		"23514": "check violation",
		"23P01": "exclusion violation",
		"25P03": "idle in transaction session timeout",
		"28P01": "invalid password",
		"3D000": "no such database",
		"40001": "serialization failure",
		"40P01": "deadlock detected",
		"42501": "insufficient privilege",
		"42601": "syntax error",
		"42703": "undefined column",
		"42P01": "undefined table",
		"53100": "disk full",
		"53200": "out of memory",
		"53300": "too many connections",
		"54000": "program limit exceeded",
		"55P03": "lock not available",
		"57014": "query canceled",
		"57P01": "admin shutdown",
		"57P02": "crash shutdown",
		"57P03": "cannot connect now",
		"P0001": "raised by a function of the database",
	}
	classes = map[string]string{
		"08": "connection exception",
		"0A": "feature not supported",
		"21": "cardinality violation",
		"22": "data exception",
		"23": "integrity constraint violation",
		"25": "invalid transaction state",
		"28": "invalid authorization",
		"40": "transaction rollback",
		"42": "syntax error or access rule violation",
		"44": "with check option violation",
		"53": "insufficient resources",
		"54": "program limit exceeded",
		"55": "object not in prerequisite state",
		"57": "operator intervention",
		"58": "system error",
		"P0": "error in a function of the database",
		"XX": "internal error",
	}
)
