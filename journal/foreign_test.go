package journal_test

import (
	"testing"

	"github.com/weirflow/weir/journal"
)

func TestForeign(t *testing.T) {
	f := journal.Foreign{Run: "01JZ0000000000000000000001", Epoch: journal.ID{1, 2, 15: 0xff}, Journal: "group/validate.dead"}
	const text = "group/validate.dead@010200000000000000000000000000ff@01JZ0000000000000000000001"
	if got := f.Text(); got != text {
		t.Errorf("Text() = %s, want %s", got, text)
	}
	if got, ok := journal.ParseForeign(text); !ok || got != f {
		t.Errorf("ParseForeign(%s) = %+v, %v, want %+v", text, got, ok, f)
	}
	for _, name := range []string{
		"", "validate.dead", "validate.dead@", "validate.dead@0102@01JZ", "@010200000000000000000000000000ff@01JZ",
		"validate.dead@010200000000000000000000000000ff", "validate.dead@010200000000000000000000000000ff@",
		"validate.dead@zz0200000000000000000000000000ff@01JZ",
	} {
		if got, ok := journal.ParseForeign(name); ok || got != (journal.Foreign{}) {
			t.Errorf("ParseForeign(%q) = %+v, %v, want none", name, got, ok)
		}
	}
}
