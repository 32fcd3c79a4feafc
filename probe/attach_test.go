// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// TestOthersOnTheHookStillDecide puts a program after ours that drops.
func TestOthersOnTheHookStillDecide(t *testing.T) {
	_, s, bed, pods := start(t, probe.Options{Hook: "tcx"})
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	bed.Echo(pods[1], at(pods[1], 0, 8081))
	bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080)) // finds the neighbours, which the program would drop too
	block, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "others", Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer block.Close()
	var l link.Link
	err = pods[0].Do(func() error {
		l, err = link.AttachTCX(link.TCXOptions{Interface: pods[0].Index, Program: block, Attach: ebpf.AttachTCXEgress, Anchor: link.Tail()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := bed.Try(pods[0], "tcp", at(pods[1], 0, 8081), 100*time.Millisecond); err == nil {
		t.Error("their drop was lost")
	}
	s.await(t, "the attempt, seen before it was dropped", func() bool { return s.find(1, flow.Egress, flow.TCP, 8081) != nil })

	p2, s2 := open(t, probe.Options{Hook: "tcx"})
	if err := p2.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0])}); err != nil {
		t.Fatal(err)
	}
	s2.await(t, "names of the others", func() bool {
		return slices.Contains(s2.states[1].GetOthers(), "others") && slices.Contains(s2.states[1].GetOthers(), "ebpol_egress")
	})
}

// TestNothingStaysBehind looks at the device after the probe has ended.
func TestNothingStaysBehind(t *testing.T) {
	eachHook(t, func(t *testing.T, o probe.Options) {
		bed := testkit.NewBed(t)
		pod := bed.Pod("a")
		p, s := open(t, o)
		if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pod)}); err != nil {
			t.Fatal(err)
		}
		s.await(t, "attachment", func() bool { return s.states[1].GetAttached() })
		if n := filters(t, pod); o.Hook == "clsact" && n != 2 {
			t.Errorf("%d filters, want 2", n)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if n := filters(t, pod); n != 0 {
			t.Errorf("%d filters are left", n)
		}
		err := pod.Do(func() error {
			l, err := netlink.LinkByIndex(pod.Index)
			if err != nil {
				return err
			}
			list, err := netlink.QdiscList(l)
			if err != nil {
				return err
			}
			for _, q := range list {
				if q.Type() == "clsact" {
					return errors.New("the qdisc is left")
				}
			}
			if o.Hook != "tcx" {
				return nil
			}
			r, err := link.QueryPrograms(link.QueryOptions{Target: pod.Index, Attach: ebpf.AttachTCXEgress})
			if err == nil && len(r.Programs) > 0 {
				err = errors.New("a program is left")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestKilledProbeLeavesNothing: TCX links go with the process.
func TestKilledProbeLeavesNothing(t *testing.T) {
	bed := testkit.NewBed(t)
	pod := bed.Pod("a")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EBPOL_TEST_VICTIM="+pod.Path())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	attached := programs(t, pod)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // "killed", as it should be
	if err != nil || line != "victim: <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if attached == 0 {
		testkit.SkipIfNotSupported(t, fmt.Errorf("TCX links: %w", errors.ErrUnsupported))
	}
	for late := time.Now().Add(patience); programs(t, pod) > 0; {
		if time.Now().After(late) {
			t.Fatal("a program is left")
		}
	}
}

func programs(t *testing.T, pod *netbed.Pod) (n int) {
	t.Helper()
	err := pod.Do(func() error {
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			r, err := link.QueryPrograms(link.QueryOptions{Target: pod.Index, Attach: at})
			if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, syscall.EINVAL) { // below 6.6
				return nil
			}
			if err != nil {
				return err
			}
			n += len(r.Programs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func filters(t *testing.T, pod *netbed.Pod) (n int) {
	t.Helper()
	err := pod.Do(func() error {
		l, err := netlink.LinkByIndex(pod.Index)
		if err != nil {
			return err
		}
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			list, err := netlink.FilterList(l, parent)
			if err != nil {
				continue // no such qdisc
			}
			n += len(list)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFiltersOfAKilledProbeAreReplaced: on clsact they outlive the process.
// Those of a probe that runs are left alone.
func TestFiltersOfAKilledProbeAreReplaced(t *testing.T) {
	bed := testkit.NewBed(t)
	pod := bed.Pod("a")
	alive, err := probe.FilterName(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	dead := "kubectl-ebpol:99999999:1" // no process has such a number
	err = pod.Do(func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
		if err != nil {
			return err
		}
		defer p.Close()
		q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: pod.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
		if err := netlink.QdiscAdd(q); err != nil {
			return err
		}
		for i, name := range []string{alive, dead} {
			err := netlink.FilterAdd(&netlink.BpfFilter{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: pod.Index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: uint32(99 + i), Protocol: 3, Priority: 7},
				Fd:          p.FD(), Name: name, DirectAction: true,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p, s := open(t, probe.Options{Hook: "clsact"})
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pod)}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "attachment, beside the living one", func() bool {
		return s.states[1].GetAttached() && slices.Equal(s.states[1].GetOthers(), []string{alive})
	})
	if n := filters(t, pod); n != 3 {
		t.Errorf("%d filters, want the living one and our two", n)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n := filters(t, pod); n != 1 {
		t.Errorf("%d filters, want the living one", n)
	}
}

// TestPodIsFoundByItsAddress starts with an address that nobody has yet.
func TestPodIsFoundByItsAddress(t *testing.T) {
	p, s := open(t, probe.Options{})
	bed := testkit.NewBed(t)
	pod := bed.Pod("late")
	e := asEndpoint(7, pod)
	e.Netns = ""
	if err := p.SetEndpoints([]*wire.Endpoint{e}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "word that it isn't there", func() bool { return s.states[7].GetError() != "" && !s.states[7].GetAttached() })

	// A namespace is found by a process that is in it.
	spawner := netbed.NewSpawner()
	defer spawner.Close()
	cmd := exec.Command("sleep", "60")
	if err := spawner.Start(pod.Namespace, cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	s.await(t, "attachment", func() bool { return s.states[7].GetAttached() && s.states[7].GetDevice() == "eth0" })
	bed.Echo(pod, at(pod, 0, 8080))
	if err := bed.Try(pod, "tcp", at(pod, 0, 8080), patience); err != nil { // to itself: by loopback, not seen
		t.Fatal(err)
	}
}

func TestBadEndpointsAreRefusedByName(t *testing.T) {
	p, s := open(t, probe.Options{})
	err := p.SetEndpoints([]*wire.Endpoint{{Id: 0}, {Id: 1, Ips: [][]byte{{1, 2, 3}}}, {Id: 2, HostNetwork: true}, {Id: 3, Netns: "/nowhere"}})
	if err == nil {
		t.Error("no error")
	}
	s.await(t, "why each isn't attached", func() bool {
		return s.states[2].GetError() != "" && s.states[3].GetError() != "" && !s.states[3].GetAttached()
	})
}
