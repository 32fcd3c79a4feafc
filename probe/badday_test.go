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
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// files of a kernel: its types, if any, and a list of symbols.
func files(t *testing.T, types, symbols bool) fstest.MapFS {
	t.Helper()
	f := fstest.MapFS{"proc/kallsyms": {Data: []byte("0000000000000000 T _text\n0000000000000000 T nf_hook_slow\n")}}
	if symbols {
		b, err := os.ReadFile("/proc/kallsyms")
		if err != nil {
			t.Fatal(err)
		}
		f["proc/kallsyms"] = &fstest.MapFile{Data: b}
	}
	if types {
		b, err := btf.NewBuilder([]btf.Type{&btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := b.Marshal(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		f["sys/kernel/btf/vmlinux"] = &fstest.MapFile{Data: raw}
	}
	return f
}

// why is what a probe says of a feature that it lacks here; empty: it has it.
func why(t *testing.T, p *probe.Probe, feature string) string {
	t.Helper()
	for _, f := range p.Facts().Features {
		if f.GetName() == feature {
			if f.GetPresent() == (f.GetWhy() != "") {
				t.Errorf("%s: present %v, why %q", feature, f.GetPresent(), f.GetWhy())
			}
			return f.GetWhy()
		}
	}
	t.Fatalf("no word on %s: %v", feature, p.Facts().Features)
	return ""
}

func says(t *testing.T, p *probe.Probe, feature string, words ...string) {
	t.Helper()
	said := why(t, p, feature)
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("of %s it says %q; want %q in it", feature, said, w)
		}
	}
	if strings.ContainsRune(said, '\n') || len(said) > 250 {
		t.Errorf("of %s it says no one sentence: %q", feature, said)
	}
}

// badDay is a probe on a machine that lacks something, with two pods watched.
func badDay(t *testing.T, o probe.Options) (*probe.Probe, *sink, *testkit.Bed, [2]*netbed.Pod) {
	t.Helper()
	bed := testkit.NewBed(t)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	o.Node = bed.Node.Path()
	p, s := open(t, o)
	if err := p.SetOptions(&wire.Options{Drops: true, Owners: true, Blame: true, TickNs: int64(100 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "attachment", func() bool { return s.states[1].GetAttached() && s.states[2].GetAttached() })
	return p, s, bed, pods
}

func quiet(t *testing.T, s *sink) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notices) > 0 {
		t.Errorf("a feature's absence is told once, at the start; also told: %q", s.notices)
	}
}

// TestNoBTF: without the kernel's types connections are still judged; drops and
// processes aren't seen, which is said.
func TestNoBTF(t *testing.T) {
	p, s, bed, pods := badDay(t, probe.Options{Files: files(t, false, true)})
	for _, feature := range []string{"drops", "owners"} {
		says(t, p, feature, "this kernel has no BTF")
	}
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	if err := bed.Try(pods[0], "tcp", at(pods[1], 0, 8080), patience); err != nil {
		t.Fatal(err)
	}
	s.await(t, "flow", func() bool { return s.find(1, flow.Egress, flow.TCP, 8080) != nil })
	_ = bed.Try(pods[0], "tcp", at(pods[1], 0, 9), time.Second) // refused
	s.await(t, "flow that is refused", func() bool { return s.find(1, flow.Egress, flow.TCP, 9) != nil })
	if len(s.drops) > 0 || len(s.counts) > 0 {
		t.Errorf("drops %v %v", s.drops, s.counts)
	}
	quiet(t, s)
}

// TestNoReasons: a kernel before 5.17 tells where a packet was freed, not why.
func TestNoReasons(t *testing.T) {
	p, s, bed, pods := badDay(t, probe.Options{Files: files(t, true, true)})
	says(t, p, "drop-reasons", "no reasons", "5.17")
	if w := why(t, p, "drops") + why(t, p, "drop-places"); w != "" {
		t.Errorf("lacks %s", w)
	}
	run(t, bed.Node.Namespace, "nft", `table inet engine { chain pods { type filter hook forward priority 0; udp dport 8080 drop; }; }`)
	for _, port := range []uint16{8080, 9} { // by a rule; by nobody who listens
		c := bed.Dial(pods[0], "udp", at(pods[1], 0, port))
		_, _ = c.Write([]byte("x")) // what comes of it is what is looked at
	}
	for port, place := range map[uint32]string{8080: "nft_do_chain", 9: "__udp4_lib_rcv"} {
		s.await(t, place, func() bool {
			for _, d := range s.drops {
				if d.GetDport() == port && d.GetReasonName() == "" && strings.Contains(d.GetLocation()+" "+strings.Join(d.GetStack(), " "), place) {
					return true
				}
			}
			return false
		})
	}
	again := bed.Dial(pods[0], "udp", at(pods[1], 0, 8080))
	until(t, "rule, all the same", func() bool {
		_, _ = again.Write([]byte("x")) // dropped; of datagrams the second one names its rule
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.drops, func(d *wire.Drop) bool { return d.GetDport() == 8080 && d.GetRule().GetTable() == "engine" })
	})
}

// TestNoSymbols: who may not see where functions stand is told reasons, and
// addresses without a name.
func TestNoSymbols(t *testing.T) {
	p, s, bed, pods := badDay(t, probe.Options{Symbols: "listed", Files: withReasons(t, files(t, false, false))})
	says(t, p, "drop-places", "hides the names of its functions", "kptr_restrict")
	_, _ = bed.Dial(pods[0], "udp", at(pods[1], 0, 9)).Write([]byte("x")) // nobody listens
	s.await(t, "drop with its reason, and a place without a name", func() bool {
		for _, d := range s.drops {
			if d.GetDport() == 9 && d.GetReasonName() == "NO_SOCKET" {
				if !strings.HasPrefix(d.GetLocation(), "0x") {
					t.Fatalf("location %q", d.GetLocation())
				}
				return true
			}
		}
		return false
	})
	quiet(t, s)
}

// withReasons adds this machine's own types.
func withReasons(t *testing.T, f fstest.MapFS) fstest.MapFS {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	f["sys/kernel/btf/vmlinux"] = &fstest.MapFile{Data: b}
	return f
}

// TestNoReasonsNoSymbols: what is left is a count.
func TestNoReasonsNoSymbols(t *testing.T) {
	p, s, bed, pods := badDay(t, probe.Options{Symbols: "listed", Files: files(t, true, false)})
	says(t, p, "drop-places", "nobody is blamed")
	_, _ = bed.Dial(pods[0], "udp", at(pods[1], 0, 9)).Write([]byte("x")) // nobody listens
	s.await(t, "count", func() bool {
		for _, c := range s.counts {
			if c.GetPackets() > 0 && c.GetReasonName() == "" && strings.HasPrefix(c.GetLocation(), "0x") {
				return true
			}
		}
		return false
	})
}

// TestNoNftables: netfilter's drops are seen, their rule isn't asked for.
func TestNoNftables(t *testing.T) {
	for name, dial := range map[string]func(*netlink.Config) (*netlink.Conn, error){
		"no netfilter netlink": func(*netlink.Config) (*netlink.Conn, error) {
			return nil, os.NewSyscallError("socket", unix.EPROTONOSUPPORT)
		},
		"no nf_tables": func(*netlink.Config) (*netlink.Conn, error) {
			return nltest.Dial(func(request []netlink.Message) ([]netlink.Message, error) {
				return nltest.Error(int(unix.EINVAL), request)
			}), nil
		},
		"not allowed": func(*netlink.Config) (*netlink.Conn, error) {
			return nltest.Dial(func(request []netlink.Message) ([]netlink.Message, error) {
				return nltest.Error(int(unix.EPERM), request)
			}), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, s, bed, pods := badDay(t, probe.Options{Netlink: dial})
			says(t, p, "netfilter-rules", "don't name their rule", "no nftables")
			run(t, bed.Node.Namespace, "nft", `table inet engine { chain pods { type filter hook forward priority 0; udp dport 8080 drop; }; }`)
			_, _ = bed.Dial(pods[0], "udp", at(pods[1], 0, 8080)).Write([]byte("x")) // dropped
			s.await(t, "drop", func() bool {
				for _, d := range s.drops {
					if d.GetDport() == 8080 && d.GetReasonName() == "NETFILTER_DROP" {
						return d.GetRule() == nil
					}
				}
				return false
			})
			if out := tables(t, bed.Node.Namespace); strings.Contains(out, "ebpol") {
				t.Errorf("a table all the same:\n%s", out)
			}
			quiet(t, s)
		})
	}
}

// TestNoHeaderYet: a packet for which there is no way is freed before it has an
// IP header; its socket says whose it is.
func TestNoHeaderYet(t *testing.T) {
	_, s, bed, pods := badDay(t, probe.Options{})
	for i, family := range []string{"-4", "-6"} {
		place := []string{"__ip_queue_xmit", "inet6_csk_xmit"}[i] // the second gives no reason
		bed.Echo(pods[1], at(pods[1], i, 8080))
		c := bed.Dial(pods[0], "tcp", at(pods[1], i, 8080))
		run(t, pods[0].Namespace, "ip", family, "route", "flush", "table", "main")
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		s.await(t, family+" drop of the connection", func() bool {
			for _, d := range s.drops {
				if from(d) == pods[0].IPs[i] && strings.HasPrefix(d.GetLocation(), place) {
					if to, ok := d.Tuple(); !ok || to.Destination != at(pods[1], i, 8080) || d.GetEndpoint() != 1 || d.GetProtocol() != 6 || i == 0 && d.GetEvidence() != "route-none" {
						t.Fatalf("drop %v", d)
					}
					return true
				}
			}
			return false
		})
	}
}

func tables(t *testing.T, in *netbed.Namespace) (out string) {
	t.Helper()
	err := in.Do(func() error {
		b, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		out = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNamespaceGoesWhileEntered: its last process ends while we are in it. We
// come back, nothing else is disturbed, and it is gone once we have left.
func TestNamespaceGoesWhileEntered(t *testing.T) {
	testkit.NeedsRoot(t)
	cmd := exec.Command("unshare", "-n", "sh", "-c", "echo; exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	errInside := errors.New("what was asked inside failed")
	err = probe.Inside(path, func() error {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
		if now, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || now == before {
			t.Errorf("in %q, %v", now, err)
		}
		return errInside
	})
	if !errors.Is(err, errInside) {
		t.Errorf("error %v", err)
	}
	if err := probe.Inside(path, func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("entered again: %v", err)
	}
}

// TestPodGoesWhileItsRulesAreTraced: our sockets don't keep its namespace, and
// nobody is bothered about it.
func TestPodGoesWhileItsRulesAreTraced(t *testing.T) {
	p, s := open(t, probe.Options{})
	bed := testkit.NewBed(t)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	if err := p.SetOptions(&wire.Options{Drops: true, Blame: true}); err != nil {
		t.Fatal(err)
	}
	spawner := netbed.NewSpawner()
	defer spawner.Close()
	cmd := exec.Command("sleep", "60")
	if err := spawner.Start(pods[1].Namespace, cmd); err != nil {
		t.Fatal(err)
	}
	b := asEndpoint(2, pods[1])
	b.Netns = fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), b}); err != nil {
		t.Fatal(err)
	}
	run(t, pods[1].Namespace, "nft", `table ip sidecar { chain in { type filter hook input priority 0; udp dport 8080 drop; }; }`)
	c := bed.Dial(pods[0], "udp", at(pods[1], 0, 8080))
	traced := func() bool { return strings.Contains(tables(t, pods[1].Namespace), "ebpol-trace-") }
	for late := time.Now().Add(patience); !traced(); {
		if time.Now().After(late) {
			t.Fatal("the pod's namespace isn't traced")
		}
		_, _ = c.Write([]byte("x")) // dropped
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for late := time.Now().Add(patience); traced(); {
		if time.Now().After(late) {
			t.Fatal("the namespace of a pod that ended is traced on")
		}
	}
	quiet(t, s)
}
