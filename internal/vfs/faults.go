package vfs

import "sync"

// Fault is what happens to one operation. The zero Fault is none.
type Fault struct {
	// Err makes the operation fail with this error (syscall.EIO,
	// syscall.ENOSPC …) and change nothing, but for Bytes. A Sync that fails
	// over a [Memory] leaves what was unsynced readable and beyond the reach of
	// a later Sync.
	Err error
	// Bytes is how much of a read, write or allocation is done before the
	// operation fails with Err or the world stops.
	Bytes int64
	// Stop makes this operation and all that follow fail with [ErrCrashed].
	Stop bool
}

// failure returns the error of the fault, nil for none.
func (f Fault) failure(op Op) error {
	err := f.Err
	if f.Stop {
		err = ErrCrashed
	}
	if err == nil {
		return nil
	}
	return pathError(string(op.Kind), op.Name, err)
}

// Faults is a file system in which chosen operations fail. To be sure of
// every boundary of a program, run it once to count its operations, then once
// for each of them, and look at what is left:
//
//	calm := vfs.NewFaults(vfs.NewMemory(), nil)
//	program(calm)
//	for n := 1; n <= calm.Count(); n++ {
//		disk := vfs.NewMemory()
//		program(vfs.NewFaults(disk, vfs.StopAt(n)))
//		check(disk.Crash(rng))
//	}
type Faults struct {
	wrapped
	plan func(Op) Fault

	mu      sync.Mutex
	count   int
	stopped bool
}

var _ FS = (*Faults)(nil)

// NewFaults returns fsys with faults. The plan is asked about every operation
// before it is done, concurrently if operations are concurrent, and may block;
// nil means no faults.
func NewFaults(fsys FS, plan func(op Op) Fault) *Faults {
	f := &Faults{plan: plan}
	f.wrapped = wrapped{fs: fsys, gate: f}
	return f
}

// StopAt is a plan: the world stops before mutating operation n.
func StopAt(n int) func(Op) Fault {
	return func(op Op) Fault { return Fault{Stop: op.Number == n} }
}

// FailAt is a plan: mutating operation n fails with err, once.
func FailAt(n int, err error) func(Op) Fault {
	return func(op Op) Fault {
		if op.Number == n {
			return Fault{Err: err}
		}
		return Fault{}
	}
}

// Count returns how many mutating operations were asked for until the world
// stopped, if it did: the [Op.Number] of the last one.
func (f *Faults) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Stop stops the world: operations from now on fail with [ErrCrashed].
func (f *Faults) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// Stopped tells whether the world has stopped.
func (f *Faults) Stopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped
}

func (f *Faults) before(op *Op) Fault {
	if !f.enter(op) {
		return Fault{Stop: true}
	}
	if f.plan == nil {
		return Fault{}
	}
	fault := f.plan(*op)
	if fault.Stop {
		f.Stop()
	}
	return fault
}

// enter numbers an operation, unless the world has stopped.
func (f *Faults) enter(op *Op) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return false
	}
	if op.Kind.Mutating() {
		f.count++
		op.Number = f.count
	}
	return true
}

func (f *Faults) after(Op, int64, error) {}
