package vfs

import "io/fs"

// Identity tells files apart that may have the same name, for readers that
// must notice that a file was replaced between two runs. Identities are
// comparable; they hold as long as the file system stays mounted where it is.
type Identity struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`     // in bytes
	Modified int64  `json:"modified"` // nanoseconds since 1970
}

// SameFile tells whether both identify one file, changed or not.
func (id Identity) SameFile(other Identity) bool {
	return id.Device == other.Device && id.Inode == other.Inode
}

// IdentityOf returns the identity of the file that info, a result of
// [FS.Stat], describes. It is false for a FileInfo of some other origin.
func IdentityOf(info fs.FileInfo) (Identity, bool) {
	id := Identity{Size: info.Size(), Modified: info.ModTime().UnixNano()}
	switch sys := info.Sys().(type) {
	case memoryInode:
		id.Inode = uint64(sys)
		return id, true
	default:
		var ok bool
		id.Device, id.Inode, ok = osInode(sys)
		return id, ok
	}
}
