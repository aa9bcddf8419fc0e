package weir_test

import "log/slog"

// quiet is a logger that says nothing.
var quiet = slog.New(slog.DiscardHandler)
