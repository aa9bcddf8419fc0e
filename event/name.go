package event

import (
	"fmt"
	"strings"
)

// MaxName is the length of the longest name, in bytes; the name of a stage
// counts with its groups. It keeps names usable as file names, environment
// variables and metric labels.
const MaxName = 128

// The reserved ports: every stage has them, no stage may declare them.
const (
	PortDead = "dead" // dead letters
	PortFx   = "fx"   // effect records
	PortSys  = "sys"  // lifecycle and contracts
)

// ReservedPort reports whether port is one of dead, fx and sys.
func ReservedPort(port string) bool {
	return port == PortDead || port == PortFx || port == PortSys
}

// A NameKind is what a name is the name of. Its text appears in error messages.
type NameKind string

// The kinds of names.
const (
	FlowName  NameKind = "flow"
	GroupName NameKind = "group"
	StageName NameKind = "stage" // may be qualified by groups: "billing/eu/charge"
	PortName  NameKind = "port"  // as declared by a user: reserved ports are refused
)

// ValidName returns nil if name can be the name of a kind, else an error that
// says what is wrong and, where there is an obvious one, what to write instead.
//
// A name is [a-z][a-z0-9_]*, a stage name one or several of these joined by
// "/", at most [MaxName] bytes altogether.
func ValidName(kind NameKind, name string) error {
	if kind == PortName && ReservedPort(name) {
		return fmt.Errorf("port name %q is reserved (every stage has dead, fx and sys); choose another", name)
	}
	if len(name) > MaxName {
		return fmt.Errorf("%s name %s is %d bytes long, the limit is %d", kind, clip(name), len(name), MaxName)
	}
	if kind != StageName {
		return validPart(kind, name, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if err := validPart(kind, name, part); err != nil {
			return err
		}
	}
	return nil
}

func validPart(kind NameKind, name, part string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s name is empty", kind)
	case part == "":
		return fmt.Errorf("%s name %q has an empty part around %q", kind, name, "/")
	case isPart(part):
		return nil
	}
	msg := "must begin with a-z and hold only a-z, 0-9 and _"
	if kind == StageName {
		msg += ", groups joined by /"
	}
	if hint := suggest(name, kind == StageName); hint != "" {
		return fmt.Errorf("%s name %q %s; try %q", kind, name, msg, hint)
	}
	return fmt.Errorf("%s name %q %s", kind, name, msg)
}

// isPart reports whether s matches [a-z][a-z0-9_]* within MaxName.
func isPart(s string) bool {
	if s == "" || len(s) > MaxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// isStage reports whether s is a stage name, qualified or not.
func isStage(s string) bool {
	if len(s) > MaxName {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !isPart(part) {
			return false
		}
	}
	return true
}

// suggest turns a name in another convention ("PaidOrders", "paid-orders")
// into a valid one, or returns "" if nothing sensible remains.
func suggest(name string, groups bool) string {
	var b strings.Builder
	lower := false // the byte before was a lower-case letter or a digit
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			b.WriteByte(c)
			lower = true
		case 'A' <= c && c <= 'Z':
			if lower {
				b.WriteByte('_')
			}
			b.WriteByte(c - 'A' + 'a')
			lower = false
		case c == '/' && groups:
			b.WriteByte('/')
			lower = false
		case c == '-', c == ' ', c == '.', c == '_', c == '/':
			b.WriteByte('_')
			lower = false
		default:
			return ""
		}
	}
	hint := b.String()
	if groups && isStage(hint) || !groups && isPart(hint) && !ReservedPort(hint) {
		return hint
	}
	return ""
}

// clip quotes the beginning of a text that is too long to print.
func clip(s string) string {
	if len(s) <= 40 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…", s[:40])
}
