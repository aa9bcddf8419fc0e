// Package campaign holds the tests that use Weir as its users do and take the
// world away from under it: power cuts at every write, sync and rename, failing
// disks, tiny windows, handlers that panic after their work, a hundred flows at
// once, ten seconds of doing nothing. It exports nothing.
//
// Every campaign compares with what follows from the input, or with a run that
// nothing happened to, and each was seen to fail: docs/mutations.md lists what
// was taken out of Weir for that and which tests noticed.
package campaign
