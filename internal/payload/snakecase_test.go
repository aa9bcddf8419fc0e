package payload_test

import (
	"testing"

	"github.com/weirflow/weir/internal/payload"
)

// Settings, ports and columns are called alike.
func TestSnakeCase(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "ID": "id", "OrderID": "order_id", "DSNFile": "dsn_file", "MaxOpen": "max_open", "Max_Open": "max_open", "x": "x", "ÄÖx": "ä_öx",
	} {
		if got := payload.SnakeCase(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
