// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// process is one that owns sockets. Its message is shared by all of them, so
// that equal pointers mean that nothing is new.
type process struct {
	pid        uint32
	start      uint64 // boottime, to the clock tick
	command    string
	executable string
	container  string
	message    *wire.Owner
	used       time.Time
}

func (p *process) owner() *wire.Owner {
	p.used = time.Now()
	if p.message == nil {
		p.message = &wire.Owner{
			Pid: p.pid, Command: wire.Clean(p.command, 16), Executable: wire.Clean(p.executable, 256), Container: p.container,
		}
	}
	return p.message
}

// runs notes the program that the process has become, as it was called.
func (p *process) runs(path string) {
	if p == nil || path == "" || p.executable == path {
		return
	}
	if strings.HasPrefix(path, "/") {
		p.executable, p.message = path, nil
	}
}

// processes remembers what processes are: they may be gone when it matters.
type processes struct {
	proc  string
	known map[processKey]*process
}

type processKey struct {
	pid   uint32
	start uint64
}

const (
	maxProcesses = 20_000
	processesFor = 10 * time.Minute
)

func (s *processes) init(proc string) { s.proc, s.known = proc, map[processKey]*process{} }

// The kernel tells in nanoseconds when a process began, /proc in ticks.
const ticks = 10_000_000

// get finds or asks about a process that the kernel told of.
func (s *processes) get(e *bpf.WhoWhoProcess) *process {
	k := processKey{e.Pid, e.StartNs / ticks}
	p := s.known[k]
	command := unix.ByteSliceToString(asBytes(e.Command[:]))
	if p == nil {
		p = &process{pid: e.Pid, start: k.start}
		s.ask(p, e.Parent)
		s.add(k, p)
	}
	if p.command != command && command != "" {
		if exe, ok := s.executable(p); ok {
			p.executable = exe // it became another program
		}
		p.command, p.message = command, nil
	}
	p.used = time.Now()
	return p
}

// byPID is a process that is there now; nil if it isn't.
func (s *processes) byPID(pid uint32) *process {
	start, ok := s.startOf(pid)
	if !ok {
		return nil
	}
	k := processKey{pid, start}
	if p := s.known[k]; p != nil {
		return p
	}
	p := &process{pid: pid, start: start}
	if b, err := os.ReadFile(s.path(pid, "comm")); err == nil {
		p.command = strings.TrimSuffix(string(b), "\n")
	}
	s.ask(p, 0)
	s.add(k, p)
	return p
}

func (s *processes) add(k processKey, p *process) {
	if len(s.known) >= maxProcesses {
		clear(s.known) // connections keep what they point to
	}
	p.used = time.Now()
	s.known[k] = p
}

func (s *processes) sweep() {
	for k, p := range s.known {
		if time.Since(p.used) > processesFor {
			delete(s.known, k)
		}
	}
}

func (s *processes) path(pid uint32, file string) string {
	return filepath.Join(s.proc, strconv.FormatUint(uint64(pid), 10), file)
}

// ask reads what /proc says. A process that has ended already is in its
// parent's container.
func (s *processes) ask(p *process, parent uint32) {
	if exe, ok := s.executable(p); ok {
		p.executable = exe
	}
	for _, pid := range [2]uint32{p.pid, parent} {
		if pid == 0 {
			continue
		}
		if b, err := os.ReadFile(s.path(pid, "cgroup")); err == nil {
			p.container = containerOf(b)
			return
		}
	}
}

// executable is the path of the process's program; not ok if it has ended.
func (s *processes) executable(p *process) (string, bool) {
	exe, err := os.Readlink(s.path(p.pid, "exe"))
	if start, ok := s.startOf(p.pid); err != nil || !ok || start != p.start {
		return "", false
	}
	return strings.TrimSuffix(exe, " (deleted)"), true
}

// startOf is when a process began, in ticks since boot: the 22nd field of its
// stat. The second is its name, which may hold anything.
func (s *processes) startOf(pid uint32) (uint64, bool) {
	b, err := os.ReadFile(s.path(pid, "stat"))
	if err != nil {
		return 0, false
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, false
	}
	fields := bytes.Fields(b[i+1:])
	if len(fields) < 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return n, err == nil
}

// containerID is what runtimes put into the names of their cgroups, such as
// cri-containerd-ID.scope, crio-ID.scope, docker-ID.scope, or the ID alone.
var containerID = regexp.MustCompile(`(?:^|[-/:])([0-9a-f]{64})(?:\.scope)?$`)

// containerOf finds the container in /proc/PID/cgroup: the innermost group
// that is named after one. Empty if there is none.
func containerOf(cgroup []byte) string {
	for line := range strings.Lines(string(cgroup)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		groups := strings.Split(parts[2], "/")
		for _, group := range slices.Backward(groups) {
			if m := containerID.FindStringSubmatch(group); m != nil && !strings.HasPrefix(group, "crio-conmon-") {
				return m[1]
			}
		}
	}
	return ""
}
