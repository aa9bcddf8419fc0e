package main

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Machine says where figures were measured.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	Procs     int    `json:"gomaxprocs"`
	MemoryGiB int    `json:"memory_gib"`
	Kernel    string `json:"kernel"`
	Disk      string `json:"file_system"`
	Go        string `json:"go"`
	Commit    string `json:"commit"`
	Load      string `json:"load_at_start"` // of the last minute: what else the machine did
}

func thisMachine(dir string) Machine {
	return Machine{
		CPU:       field("/proc/cpuinfo", "model name"),
		Cores:     runtime.NumCPU(),
		Procs:     runtime.GOMAXPROCS(0),
		MemoryGiB: memoryGiB(),
		Kernel:    firstLine("/proc/sys/kernel/osrelease"),
		Disk:      fileSystem(dir),
		Go:        runtime.Version(),
		Commit:    commit(),
		Load:      firstWord(firstLine("/proc/loadavg")),
	}
}

func (m *Machine) String() string {
	return strings.Join([]string{
		m.CPU, plural(m.Cores, "core"), strconv.Itoa(m.MemoryGiB) + " GiB", m.Disk, "Linux " + m.Kernel,
		m.Go, "GOMAXPROCS " + strconv.Itoa(m.Procs), "load " + m.Load, "commit " + m.Commit,
	}, ", ")
}

func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func firstLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

func memoryGiB() int {
	kib, err := strconv.Atoi(firstWord(field("/proc/meminfo", "MemTotal")))
	if err != nil {
		return 0
	}
	return (kib + 1<<19) >> 20
}

// fileSystem names the file system that dir is on, by its magic number.
func fileSystem(dir string) string {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "unknown"
	}
	switch uint32(st.Type) {
	case 0xef53:
		return "ext4"
	case 0x58465342:
		return "xfs"
	case 0x01021994:
		return "tmpfs"
	case 0x9123683e:
		return "btrfs"
	case 0x794c7630:
		return "overlayfs"
	}
	return "file system 0x" + strconv.FormatUint(uint64(uint32(st.Type)), 16)
}

// commit is the revision of the sources, with a + if they were changed.
func commit() string {
	hash, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	c := strings.TrimSpace(string(hash))
	if dirty, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err == nil && len(dirty) > 0 {
		c += "+"
	}
	return c
}

// cpuTime is what the process has used so far, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// profileTo begins a CPU profile and returns how to end it.
func profileTo(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// traceTo begins an execution trace and returns how to end it.
func traceTo(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := trace.Start(f); err != nil {
		return nil, err
	}
	return func() {
		trace.Stop()
		f.Close()
	}, nil
}
