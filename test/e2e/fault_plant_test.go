// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// shoot drops IPv4 packets to an address where they come in on a device of the
// node, as a network plugin's program would.
func shoot(t *testing.T, node, device, to string) {
	t.Helper()
	ip := netip.MustParseAddr(to).As4()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "cil_e2e", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // skb->protocol
			asm.JNE.Imm(asm.R2, 8, "on"),              // not IPv4
			asm.LoadAbs(30, asm.Word),                 // destination, behind the Ethernet header; in host order
			asm.JNE.Imm32(asm.R0, int32(binary.BigEndian.Uint32(ip[:])), "on"),
			asm.Mov.Imm(asm.R0, 2), // TCX_DROP
			asm.Return(),
			asm.Mov.Imm(asm.R0, -1).WithSymbol("on"), // TCX_NEXT
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	inNode(t, node, func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: dev.Index, Program: prog, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		return nil
	})
}

// inNode runs fn on a thread in the node's network namespace.
func inNode(t *testing.T, node string, fn func() error) {
	t.Helper()
	inSpace(t, fmt.Sprintf("/proc/%s/ns/net", nodePID(t, node)), fn)
}

func nodePID(t *testing.T, node string) string {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(env.state, node+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(pid))
}

// inPod runs fn on a thread in the network namespace of the node's pod that
// has the address.
func inPod(t *testing.T, node, ip string, fn func() error) {
	t.Helper()
	spaces, err := filepath.Glob(fmt.Sprintf("/proc/%s/root/run/netns/*", nodePID(t, node)))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range spaces {
		found := false
		inSpace(t, path, func() error {
			list, err := net.InterfaceAddrs()
			for _, a := range list {
				found = found || strings.HasPrefix(a.String(), ip+"/")
			}
			return err
		})
		if found {
			inSpace(t, path, fn)
			return
		}
	}
	t.Fatalf("no namespace of %s has the address %s: %v", node, ip, spaces)
}

// inSpace runs fn on a thread of its own in a network namespace.
func inSpace(t *testing.T, path string, fn func() error) {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		result <- func() error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return fn()
		}()
	}()
	if err := <-result; err != nil {
		t.Fatalf("in the network namespace %q: %v", path, err)
	}
}

// probed is a pod that the kubelet asks every second whether it is ready.
func probed(t *testing.T, w *world, name, node string) {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: new(int64), EnableServiceLinks: new(bool),
			Containers: []corev1.Container{{
				Name: "main", Image: env.agnhost, Command: []string{"/agnhost", "netexec", fmt.Sprintf("--http-port=%d", dbPort)},
				ReadinessProbe: &corev1.Probe{
					PeriodSeconds: 1, TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(dbPort)}},
				},
			}},
		},
	}
	if _, err := env.client.CoreV1().Pods(w.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.ready(name)
}

// fillConntrack fills the node's table of connections with some that are in
// use, as far as it says: those the kernel doesn't evict. The limit is the
// machine's, so it can't be lowered for one node.
func fillConntrack(t *testing.T, node string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "connections")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(onNode(t, node, "sysctl", "-n", "net.netfilter.nf_conntrack_max")))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range limit {
		fmt.Fprintf(w, "-A -s 192.0.2.%d -d 192.0.2.200 -p tcp --sport %d --dport 80 --state ESTABLISHED -u ASSURED -t 120\n", 1+i/50_000, 1024+i%50_000)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	here := fmt.Sprintf("/proc/%s/ns/net", nodePID(t, node))
	t.Cleanup(func() {
		inSpace(t, here, func() error { _ = exec.Command("conntrack", "-D", "-d", "192.0.2.200").Run(); return nil }) // says so if some had gone
	})
	inSpace(t, here, func() error { _ = exec.Command("conntrack", "--load-file", file).Run(); return nil }) // fails at the limit, which is the point
}
