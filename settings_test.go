package weir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/journal"
)

type shared struct{ Region string }

type settings struct {
	shared
	Shared2  shared
	Web      weir.Path
	Empty    weir.Path
	Token    weir.Secret
	MaxCents int64
	Tags     []string
}

func TestSettingsAreRecorded(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cfg := settings{Web: "web.csv", Token: "hunter2", MaxCents: 500, Tags: []string{"a"}}
	cfg.Region = "eu"
	got, err := weir.RecordSettings(cfg, map[string]string{"max_cents": "command line"})
	if err != nil {
		t.Fatal(err)
	}
	want := []journal.Setting{
		{Name: "region", Value: []byte(`"eu"`), Source: "code"},
		{Name: "shared2", Value: []byte(`{"Region":""}`), Source: "code"},
		{Name: "web", Value: []byte(`"` + filepath.Join(dir, "web.csv") + `"`), Source: "code"},
		{Name: "empty", Value: []byte(`""`), Source: "code"},
		{Name: "token", Source: "code", Secret: true},
		{Name: "max_cents", Value: []byte(`500`), Source: "command line"},
		{Name: "tags", Value: []byte(`["a"]`), Source: "code"},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestSettingsAreRestored(t *testing.T) {
	recorded := []journal.Setting{
		{Name: "region", Value: []byte(`"eu"`)},
		{Name: "web", Value: []byte(`"/old/web.csv"`)},
		{Name: "token", Secret: true},
		{Name: "max_cents", Value: []byte(`500`)},
		{Name: "tags", Value: []byte("[\n  \"a\"\n]")},
		{Name: "gone", Value: []byte(`1`)},
	}
	now := settings{Web: "/new/web.csv", Token: "new", MaxCents: 700, Tags: []string{"a"}}
	got, drift, err := weir.RestoreSettings(now, recorded, map[string]string{"max_cents": "command line", "tags": "command line", "web": "file"})
	if err != nil {
		t.Fatal(err)
	}
	want := settings{Web: "/old/web.csv", Token: "new", MaxCents: 700, Tags: []string{"a"}}
	want.Region = "eu"
	if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"[setting=max_cents began_with=500 now=700]", "[setting=gone began_with=1 now=not known any more]"}, drift); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	if _, _, err := weir.RestoreSettings(now, []journal.Setting{{Name: "max_cents", Value: []byte(`"a lot"`)}}, nil); err == nil ||
		!strings.Contains(err.Error(), `setting max_cents was recorded as "a lot", which is no int64 any more`) {
		t.Errorf("restoring a value of another type: error = %v", err)
	}
}

func TestSecretsWithinSettingsAreRefused(t *testing.T) {
	type nested struct{ Keys map[string]weir.Secret }
	def := weir.DefineWith("shop", nested{}, func(f *weir.Flow, _ nested) { orders(f, "orders") })
	if _, err := def.Graph(nil); err == nil || !strings.Contains(err.Error(), "make the secret a field of its own") {
		t.Errorf("Graph() error = %v", err)
	}
}
