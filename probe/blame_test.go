// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
)

// Hops makes sink a serve.HopSink.
func (s *sink) Hops(list []*wire.Hop) { s.locked(func() { s.hops = append(s.hops, list...) }) }

// startBlaming is start with the bed's node as the probe's own, and rules named.
func startBlaming(t *testing.T, o *wire.Options) (*probe.Probe, *sink, *testkit.Bed, [2]*netbed.Pod) {
	t.Helper()
	bed := testkit.NewBed(t)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	p, s := open(t, probe.Options{Node: bed.Node.Path()})
	o.Drops, o.TickNs = true, int64(100*time.Millisecond)
	if err := p.SetOptions(o); err != nil {
		t.Fatal(err)
	}
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "attachment", func() bool { return s.states[1].GetAttached() && s.states[2].GetAttached() })
	for _, f := range p.Facts().Features {
		if !f.GetPresent() && (f.GetName() == "drops" || f.GetName() == "netfilter-rules") {
			t.Fatal(f.GetWhy())
		}
	}
	return p, s, bed, pods
}

// run runs a command in a namespace.
func run(t *testing.T, in *netbed.Namespace, command ...string) {
	t.Helper()
	err := in.Do(func() error {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w\n%s", command, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func from(d *wire.Drop) netip.Addr {
	ip, _ := netip.AddrFromSlice(d.GetSrc())
	return ip
}

// TestRuleIsNamed: a drop by the node's netfilter names its very rule, whichever
// tool made it and whatever stands before it.
func TestRuleIsNamed(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, bed *testkit.Bed, b *netbed.Pod) // both families to b, port 8080
		want func(r *wire.NftRule) bool
	}{
		{"nftables", func(t *testing.T, bed *testkit.Bed, _ *netbed.Pod) {
			run(t, bed.Node.Namespace, "nft", `table inet engine { chain pods { tcp dport 8080 drop comment "shop/default-deny"
			}; chain forward { type filter hook forward priority 0; tcp dport 8080 jump pods; }; }`)
		}, func(r *wire.NftRule) bool {
			return r.GetFamily() == "inet" && r.GetTable() == "engine" && r.GetChain() == "pods" && r.GetHandle() != 0 && r.GetVerdict() == "drop" &&
				r.GetComment() == "shop/default-deny" && r.GetText() == "meta l4proto tcp tcp dport 8080 drop"
		}},
		{"nftables' policy", func(t *testing.T, bed *testkit.Bed, _ *netbed.Pod) {
			run(t, bed.Node.Namespace, "nft", `table inet engine { chain forward { type filter hook forward priority 0; policy drop; }; }`)
		}, func(r *wire.NftRule) bool {
			return r.GetTable() == "engine" && r.GetChain() == "forward" && r.GetHandle() == 0 && r.GetText() == "policy drop"
		}},
		{"iptables", func(t *testing.T, bed *testkit.Bed, _ *netbed.Pod) {
			for _, tool := range []string{"iptables", "ip6tables"} {
				run(t, bed.Node.Namespace, tool, "-N", "KUBE-NWPLCY-DEFAULT")
				run(t, bed.Node.Namespace, tool, "-A", "FORWARD", "-j", "KUBE-NWPLCY-DEFAULT")
				run(t, bed.Node.Namespace, tool, "-A", "KUBE-NWPLCY-DEFAULT", "-p", "tcp", "--dport", "8080", "-m", "comment", "--comment", "default policy of shop", "-j", "REJECT")
			}
		}, func(r *wire.NftRule) bool {
			return r.GetTable() == "filter" && r.GetChain() == "KUBE-NWPLCY-DEFAULT" && r.GetVerdict() == "drop" && r.GetComment() == "default policy of shop"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
			c.make(t, bed, pods[1])
			bed.Echo(pods[1], at(pods[1], 0, 9090))
			for i, family := range []string{"IPv4", "IPv6"} {
				if err := bed.Try(pods[0], "tcp", at(pods[1], i, 8080), 100*time.Millisecond); err == nil {
					t.Fatal("nothing was dropped")
				}
				s.await(t, family+" sample with its rule", func() bool {
					for _, d := range s.drops {
						if from(d) == pods[0].IPs[i] && d.GetDport() == 8080 && d.GetReasonName() == "NETFILTER_DROP" && d.GetRule() != nil {
							if !c.want(d.GetRule()) {
								t.Fatalf("rule %v", d.GetRule())
							}
							return true
						}
					}
					return false
				})
			}
		})
	}
}

// TestRuleOfAPodsOwn: netfilter in a pod's namespace is traced once it has
// dropped something.
func TestRuleOfAPodsOwn(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
	run(t, pods[1].Namespace, "nft", `table ip sidecar { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }`)
	if err := bed.Try(pods[0], "tcp", at(pods[1], 0, 8080), 1500*time.Millisecond); err == nil {
		t.Fatal("nothing was dropped")
	}
	s.await(t, "rule of the second try", func() bool {
		for _, d := range s.drops {
			if d.GetRule().GetTable() == "sidecar" && d.GetRule().GetChain() == "in" {
				return true
			}
		}
		return false
	})
}

// TestHops: of a connection that is to be caught every rule is told, in order;
// of others none.
func TestHops(t *testing.T) {
	bed := testkit.NewBed(t)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	p, s := open(t, probe.Options{Node: bed.Node.Path()})
	to := netip.PrefixFrom(pods[1].IPs[0], 32)
	err := p.SetOptions(&wire.Options{Drops: true, Catch: &wire.Pattern{To: []*wire.Prefix{{Ip: to.Addr().AsSlice(), Bits: 32}}, Protocol: 6, Port: 8080}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		t.Fatal(err)
	}
	run(t, bed.Node.Namespace, "nft", `table ip one { chain pre { type filter hook prerouting priority 0; tcp dport 8080 counter; }; }
	table ip two { chain onward { type filter hook forward priority 0; tcp dport 8080 accept comment "through"; }; }`)
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	bed.Echo(pods[1], at(pods[1], 0, 9090))
	bed.Dial(pods[0], "tcp", at(pods[1], 0, 9090))
	bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
	s.await(t, "two hops", func() bool {
		var seen []string
		for _, h := range s.hops {
			if h.GetDport() != 8080 {
				t.Fatalf("hop of another connection: %v", h)
			}
			seen = append(seen, h.GetHook()+" "+h.GetRule().GetTable()+" "+h.GetRule().GetComment()+" "+h.GetDeviceIn()+" "+h.GetDeviceOut())
		}
		return strings.Contains(strings.Join(seen, ";"), "prerouting one  veth1 ;") && strings.Contains(strings.Join(seen, ";"), "forward two through veth1 veth2")
	})
}

// TestTraceGoes: nothing of ours is left in the node's ruleset.
func TestTraceGoes(t *testing.T) {
	p, _, bed, pods := startBlaming(t, &wire.Options{Blame: true})
	list := func() string { return tables(t, bed.Node.Namespace) }
	untilTraced(t, bed, pods)
	if out := list(); !strings.Contains(out, "table inet ebpol-trace-") || !strings.Contains(out, "flags owner") || !strings.Contains(out, "10.88.0.2") {
		t.Errorf("no table that its owner takes along:\n%s", out)
	}
	if err := p.SetOptions(&wire.Options{Drops: true}); err != nil {
		t.Fatal(err)
	}
	if out := list(); strings.Contains(out, "ebpol") {
		t.Errorf("left behind:\n%s", out)
	}
}

// untilTraced lets a rule drop datagrams to port 8080 until the node's namespace
// is traced; before, it isn't.
func untilTraced(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) net.Conn {
	t.Helper()
	if blamed(t, bed.Node.Namespace) {
		t.Fatal("a trace where nothing was dropped")
	}
	run(t, bed.Node.Namespace, "nft", `table inet engine { chain forward { type filter hook forward priority 0; udp dport 8080 drop; }; }`)
	c := bed.Dial(pods[0], "udp", at(pods[1], 0, 8080))
	until(t, "trace", func() bool {
		_, _ = c.Write([]byte("x")) // dropped
		return blamed(t, bed.Node.Namespace)
	})
	return c
}

// TestProgramIsNamed: a drop by somebody's program says which hangs there.
func TestProgramIsNamed(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{})
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "cil_from_test", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // skb->protocol: ARP must pass
			asm.Mov.Imm(asm.R0, 2),                    // TCX_DROP
			asm.JEq.Imm(asm.R2, 8, "out"),             // IPv4, in network order
			asm.Mov.Imm(asm.R0, -1),                   // TCX_NEXT
			asm.Return().WithSymbol("out"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	err = bed.Node.Do(func() error {
		dev, err := net.InterfaceByName(pods[0].Device)
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: dev.Index, Program: prog, Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, link.ErrNotSupported) {
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		return nil
	})
	testkit.SkipIfNotSupported(t, err)
	if err := bed.Try(pods[0], "tcp", at(pods[1], 0, 8080), 100*time.Millisecond); err == nil {
		t.Fatal("nothing was dropped")
	}
	s.await(t, "program", func() bool {
		for _, d := range s.drops {
			if d.GetReasonName() == "TC_INGRESS" && slices.Equal(d.GetPrograms(), []string{"cil_from_test"}) && d.GetDevice() == pods[0].Device {
				return true
			}
		}
		return false
	})
}

// blamed says whether our trace hangs in the namespace.
func blamed(t *testing.T, in *netbed.Namespace) bool {
	t.Helper()
	return strings.Contains(tables(t, in), "table inet "+nft.TablePrefix)
}

// until fails the test if cond stays false.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("no %s", what)
		}
	}
}

// TestTraceOfAKilledProbe: its table is gone as soon as it is, on kernels where
// tables have owners; what is left on others, or anywhere else, is removed by
// the next probe, in the node and in its pods.
func TestTraceOfAKilledProbe(t *testing.T) {
	bed := testkit.NewBed(t)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	spawner := netbed.NewSpawner()
	defer spawner.Close()
	victim := exec.Command("/proc/self/exe")
	victim.Env = append(os.Environ(), "EBPOL_TEST_BLAMER=s1e2s3s4")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := spawner.Start(bed.Node.Namespace, victim); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "blaming: <nil>\n" {
		t.Fatalf("%q %v", line, err)
	}
	name := fmt.Sprintf("table inet %ss1e2s3s4-%d-", nft.TablePrefix, victim.Process.Pid)
	if ruleset := tables(t, bed.Node.Namespace); !strings.Contains(ruleset, name) {
		t.Errorf("no %q in\n%s", name, ruleset)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed
	until(t, "end of the table", func() bool { return !blamed(t, bed.Node.Namespace) })

	left, running := nft.TablePrefix+"s1e2s3s4-99999999-1", nft.TablePrefix+"other-1-"
	one, err := probe.FilterName(1)
	if err != nil {
		t.Fatal(err)
	}
	running += one[strings.LastIndexByte(one, ':')+1:]
	all := []*netbed.Namespace{bed.Node.Namespace, pods[0].Namespace, pods[1].Namespace}
	for _, ns := range all {
		run(t, ns, "nft", fmt.Sprintf("table inet %s { chain a { }; }; table inet %s { chain a { }; };", left, running))
	}
	p, s := open(t, probe.Options{Node: bed.Node.Path(), Session: "s5e6s7s8"})
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0])}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetOptions(&wire.Options{Blame: true}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		t.Fatal(err)
	}
	for _, ns := range all {
		until(t, "end of what was left in "+ns.Name(), func() bool { return !strings.Contains(tables(t, ns), left) })
		if !strings.Contains(tables(t, ns), running) {
			t.Errorf("%s: the table of one that runs is gone", ns.Name())
		}
	}
	quiet(t, s)
}

// blame is a probe that says when it traces, and waits to be killed.
func blame(session string) {
	p, err := probe.Open(probe.Options{NoDrops: true, Session: session})
	if err == nil {
		if err = p.Start(newSink()); err == nil {
			err = p.SetOptions(&wire.Options{Catch: &wire.Pattern{Port: 8080}})
		}
	}
	fmt.Println("blaming:", err)
	select {}
}

// TestTraceRests: nothing is traced before the first drop; where nothing is
// dropped the trace goes after a while, comes back with the next drop, and
// names the rule of the packet after that.
func TestTraceRests(t *testing.T) {
	p, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
	c := untilTraced(t, bed, pods)
	p.SetBlameIdle(time.Millisecond)
	until(t, "end of the trace", func() bool { return !blamed(t, bed.Node.Namespace) })
	p.SetBlameIdle(time.Minute)
	until(t, "traced rule", func() bool {
		_, _ = c.Write([]byte("x")) // dropped
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.drops, func(d *wire.Drop) bool {
			return d.GetRule().GetTable() == "engine" && !d.GetRule().GetInferred()
		})
	})
	// Whoever waits for a connection has it traced however long it takes.
	if err := p.SetOptions(&wire.Options{Drops: true, Blame: true, Catch: &wire.Pattern{Port: 8080}}); err != nil {
		t.Fatal(err)
	}
	p.SetBlameIdle(time.Millisecond)
	for range 3 { // each takes some of the probe's clock
		if !blamed(t, bed.Node.Namespace) {
			t.Fatal("the trace has gone")
		}
		time.Sleep(3 * probe.HopsEvery)
	}
}
