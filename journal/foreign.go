package journal

import "strings"

// A Foreign is a journal of another run, as one epoch of that run wrote it. It
// stands among the journals that causes count in (Output.Journals) where a record
// follows from one of another run; with a sequence it is a record id.
type Foreign struct {
	Run     string
	Epoch   ID
	Journal string
}

// Text is the name of f among journals: journal@epoch@run. No journal of the run
// itself has an @ in its name.
func (f Foreign) Text() string { return f.Journal + "@" + f.Epoch.String() + "@" + f.Run }

// ParseForeign reads a name that Text wrote; ok is false for a journal of the run
// itself.
func ParseForeign(name string) (f Foreign, ok bool) {
	journal, rest, ok := strings.Cut(name, "@")
	if !ok {
		return Foreign{}, false
	}
	epoch, run, ok := strings.Cut(rest, "@")
	if !ok || journal == "" || run == "" || f.Epoch.UnmarshalText([]byte(epoch)) != nil {
		return Foreign{}, false
	}
	f.Journal, f.Run = journal, run
	return f, true
}
