// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Main runs the tests and fails the package if it leaves processes, network
// interfaces, named network namespaces or open namespaces behind:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
func Main(m *testing.M) {
	before := belongings()
	code := m.Run()
	for _, left := range belongings() {
		if !slices.Contains(before, left) {
			fmt.Fprintln(os.Stderr, "left behind:", left)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// clusters are what the namespaces of test/e2e/cluster begin with: one may boot
// or end while these tests run, none of which boots one.
const clusters = "ebpol-kube"

// belongings lists what a careless test leaves: in words, for comparing.
func belongings() []string {
	all := slices.Concat(children(), openKernelObjects())
	if !RootTests() {
		return all // others may work on this machine at the same time
	}
	if links, err := net.Interfaces(); err == nil {
		for _, l := range links {
			all = append(all, "network interface "+l.Name)
		}
	}
	for _, dir := range []string{"/run/netns", "/var/run/netns"} {
		names, _ := os.ReadDir(dir) // none on most machines
		for _, n := range names {
			if !strings.HasPrefix(n.Name(), clusters) {
				all = append(all, "named network namespace "+n.Name())
			}
		}
	}
	return all
}

func children() []string {
	var all []string
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, t := range tasks {
		pids, _ := os.ReadFile(t)
		for pid := range strings.FieldsSeq(string(pids)) {
			cmd, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			all = append(all, fmt.Sprintf("process %s: %s", pid, strings.ReplaceAll(string(cmd), "\x00", " ")))
		}
	}
	return all
}

// openKernelObjects are namespaces and BPF objects that a file descriptor of
// ours keeps alive.
func openKernelObjects() []string {
	var all []string
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if strings.HasPrefix(to, "net:[") || strings.HasPrefix(to, "anon_inode:bpf") {
			all = append(all, fmt.Sprintf("open file %s -> %s", fd.Name(), to))
		}
	}
	return all
}
