// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"net/netip"
	"os/exec"
	"testing"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// The kernel numbers network namespaces by the lowest number that is free: a
// pod that starts right after another has ended often gets its number, and
// must not be taken for it.
func TestNumberOfAnEndedNamespaceIsUsedAgain(t *testing.T) {
	bed := testkit.NewBed(t)
	pod := bed.Pod("next")
	spawner := netbed.NewSpawner()
	defer spawner.Close()
	cmd := exec.Command("sleep", "60")
	if err := spawner.Start(pod.Namespace, cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()

	ended := netip.MustParseAddr("192.0.2.77")
	found, err := probe.FindAfter(cmd.Process.Pid, ended, pod.IPs[0])
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Errorf("the namespace with %s is taken for the ended one with %s", pod.IPs[0], ended)
	}
}
