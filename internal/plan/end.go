package plan

// EndTable is the reserved table in which a stage whose handler is an [Ender]
// keeps the last key that it emitted, as the value of EndKey.
const (
	EndTable = ".end"
	EndKey   = "last"
)
