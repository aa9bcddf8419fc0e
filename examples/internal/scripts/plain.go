package scripts

import (
	"regexp"
	"strings"
)

var replaced = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`), "RUN"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (ms|s)\b`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\.\d{3}\b`), "CLOCK"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b`), "DATE AND TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (B|kB|MB)\b`), "SIZE"},
	{regexp.MustCompile(`process \d+ on \S+[^ :;,]`), "process PID on HOST"},
	{regexp.MustCompile(`from lsn \d+`), "from lsn LSN"},
	{regexp.MustCompile(`(stopped|failed|cancelled) in TIME · [0-9,]+ in · [0-9,]+ delivered`), "$1 in TIME · N in · N delivered"},
	{regexp.MustCompile(`\d+ (bytes are|bytes of it|bytes were|were delivered)`), "N $1"},
	{regexp.MustCompile(`has [1-9]\d* bytes, of`), "has N bytes, of"},
	{regexp.MustCompile(`LSN \d+`), "LSN N"},
	{regexp.MustCompile(`CRC [0-9a-f]{8}, found [0-9a-f]{8}`), "CRC A, found B"},
	{regexp.MustCompile(`\([^()]* frames, .* snapshots?\)`), "(COUNTS)"},
	{regexp.MustCompile(`at offset \d+`), "at offset N"},
}

// Plain replaces what differs from run to run by words: ids, times, sizes, and the
// script's folder, which is work.
func Plain(work, text string) string {
	text = strings.ReplaceAll(text, work, "$WORK")
	for _, r := range replaced {
		text = r.re.ReplaceAllString(text, r.by)
	}
	return text
}
