// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// TestHostNetworkPod finds the pod's cgroup by its UID, as either driver writes
// it, and says what is wrong where there is none. What it sees through a
// cgroup is probe/kernel's to test.
func TestHostNetworkPod(t *testing.T) {
	testkit.NeedsRoot(t)
	root := ""
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var st unix.Statfs_t
		if root == "" && unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			root = dir
		}
	}
	if root == "" {
		if err := unix.Mount("none", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount("/sys/fs/cgroup", 0) })
		root = "/sys/fs/cgroup"
	}
	uid := fmt.Sprintf("0a0b0c0d-1111-2222-3333-%012d", os.Getpid())
	base := filepath.Join(root, fmt.Sprintf("ebpol-test-%d", os.Getpid()))
	pod := filepath.Join(base, "kubepods-besteffort-pod"+strings.ReplaceAll(uid, "-", "_")+".slice")
	if err := os.MkdirAll(pod, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Remove(pod)
		_ = os.Remove(base)
	})
	p, err := probe.Open(probe.Options{NoDrops: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := newSink()
	if err := p.Start(s); err != nil {
		t.Fatal(err)
	}
	if err := p.SetEndpoints([]*wire.Endpoint{
		{Id: 1, Ips: [][]byte{{192, 0, 2, 1}}, HostNetwork: true, Uid: uid},
		{Id: 2, Ips: [][]byte{{192, 0, 2, 1}}, HostNetwork: true, Uid: "nobody-has-this"},
	}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.states[1]; !st.GetAttached() || st.GetHook() != "cgroup" || st.GetDevice() != filepath.Base(pod) {
		t.Errorf("with a cgroup: %v", st)
	}
	if st := s.states[2]; st.GetAttached() || !strings.Contains(st.GetError(), "can't be told from its node's") {
		t.Errorf("without one: %v", st)
	}
}
