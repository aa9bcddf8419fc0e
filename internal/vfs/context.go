package vfs

import "context"

type contextKey struct{}

// With returns ctx with fsys as the file system for code that is given only a
// context, such as a connector.
func With(ctx context.Context, fsys FS) context.Context {
	return context.WithValue(ctx, contextKey{}, fsys)
}

// From returns the file system of ctx: what [With] put there last, else [OS].
func From(ctx context.Context) FS {
	if fsys, ok := ctx.Value(contextKey{}).(FS); ok && fsys != nil {
		return fsys
	}
	return OS
}
