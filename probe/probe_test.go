// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// Every way to attach behaves alike.
func eachHook(t *testing.T, f func(t *testing.T, o probe.Options)) {
	for _, hook := range []string{"tcx", "clsact"} {
		t.Run(hook, func(t *testing.T) { f(t, probe.Options{Hook: hook}) })
	}
}

func TestSeesBothEndsAndBothFamilies(t *testing.T) {
	eachHook(t, func(t *testing.T, o probe.Options) {
		_, s, bed, pods := start(t, o)
		for i, family := range []string{"IPv4", "IPv6"} {
			bed.Echo(pods[1], at(pods[1], i, 8080))
			bed.EchoUDP(pods[1], at(pods[1], i, 5353))
			c := bed.Dial(pods[0], "tcp", at(pods[1], i, 8080))
			u := bed.Dial(pods[0], "udp", at(pods[1], i, 5353))
			for _, conn := range []interface {
				Write([]byte) (int, error)
				Read([]byte) (int, error)
			}{c, u} {
				if _, err := conn.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(make([]byte, 16)); err != nil {
					t.Fatal(err)
				}
			}
			for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP} {
				port := map[flow.Protocol]uint16{flow.TCP: 8080, flow.UDP: 5353}[protocol]
				s.await(t, family+" "+protocol.String()+" at both ends with both directions", func() bool {
					a, b := s.find(1, flow.Egress, protocol, port), s.find(2, flow.Ingress, protocol, port)
					return a != nil && b != nil && len(a.GetLocalIp()) == []int{4, 16}[i] && a.GetPacketsIn() > 0 && a.GetPacketsOut() > 0 &&
						a.GetPacketsOut() == b.GetPacketsIn() && a.GetBytesIn() == b.GetBytesOut() && flow.Verdict(a.GetVerdict()) == flow.Allow
				})
			}
			c.Close()
			s.await(t, family+" close", func() bool {
				f := s.find(1, flow.Egress, flow.TCP, 8080)
				return f.GetKind() == wire.Flow_CLOSE && f.GetCloseReason() == "fin"
			})
			s.mu.Lock()
			clear(s.flows)
			s.mu.Unlock()
		}
	})
}

func TestDryRunTellsWhatEnforcementThenDoes(t *testing.T) {
	eachHook(t, func(t *testing.T, o probe.Options) {
		p, s, bed, pods := start(t, o)
		bed.Echo(pods[1], at(pods[1], 0, 8080))
		c := bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
		answered := func(within time.Duration) error {
			_ = c.SetDeadline(time.Now().Add(within))
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
			_, err := c.Read(make([]byte, 1))
			return err
		}
		if err := answered(patience); err != nil {
			t.Fatal(err)
		}
		ingress := func() *wire.Flow { return s.find(2, flow.Ingress, flow.TCP, 8080) }

		// A candidate that denies changes the verdict of the silent connection at once, and nothing else.
		dry := denyIngress(1, pods, false, true, false)
		apply(t, p, nil, dry)
		s.await(t, "candidate verdict", func() bool {
			return flow.Verdict(ingress().GetCandidate()) == flow.Deny && flow.Verdict(ingress().GetVerdict()) == flow.Allow && ingress().GetCandidateBit() == 1
		})
		s.mu.Lock()
		if !slices.Contains(s.kinds[ingress().GetId()], wire.Flow_VERDICT) {
			t.Error("the change was not told as one")
		}
		s.mu.Unlock()
		if err := answered(patience); err != nil {
			t.Errorf("dry-run: %v", err)
		}

		// Enforced without a lease: nothing happens.
		enforced := denyIngress(2, pods, false, true, true)
		apply(t, p, dry, enforced)
		if err := answered(patience); err != nil {
			t.Errorf("enforced without a lease: %v", err)
		}

		if err := p.SetLease(time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := answered(300 * time.Millisecond); err == nil {
			t.Error("a lease, and still an answer")
		}
		s.await(t, "drop by the lease", func() bool {
			return len(s.drops) > 0 && s.drops[0].GetEnforced() && s.drops[0].GetEndpoint() == 2 && s.drops[0].GetDport() == 8080
		})
		if err := bed.Try(pods[0], "tcp", at(pods[1], 0, 8080), 300*time.Millisecond); err == nil {
			t.Error("a new connection got through")
		}
		// A first packet that is the only one is counted as dropped like any other.
		_, _ = bed.Dial(pods[0], "udp", at(pods[1], 0, 8080)).Write([]byte("x"))
		s.await(t, "the dropped connection", func() bool {
			f := s.find(2, flow.Ingress, flow.UDP, 8080)
			return f.GetPacketsIn() == 1 && f.GetEnforced() && f.GetEnforcedPackets() == 1
		})
		if p.EnforcedPackets() == 0 {
			t.Error("no enforced packets counted")
		}
		s.mu.Lock()
		for _, d := range s.drops {
			if !d.GetEnforced() {
				t.Errorf("the lease's drop was reported as the kernel's: %v", d)
			}
		}
		s.mu.Unlock()

		// The lease ends: TCP itself repairs what was lost.
		if err := p.SetLease(0); err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("after the lease: %v", err)
		}
	})
}

func TestFindsWhatWasOpenBefore(t *testing.T) {
	_, s, bed, pods := start(t, probe.Options{})
	p, s2 := open(t, probe.Options{})
	bed.Echo(pods[1], at(pods[1], 1, 8080))
	c := bed.Dial(pods[0], "tcp", at(pods[1], 1, 8080))
	s.await(t, "connection", func() bool { return s.find(1, flow.Egress, flow.TCP, 8080) != nil })
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		t.Fatal(err)
	}
	s2.await(t, "connection that was open before, at both ends, the right way round", func() bool {
		a, b := s2.find(1, flow.Egress, flow.TCP, 8080), s2.find(2, flow.Ingress, flow.TCP, 8080)
		return a.GetPreexisting() && b.GetPreexisting() && !a.GetOpenerUnknown()
	})
	c.Close()
}

// TestAttemptsWereNotOpen: conntrack remembers for minutes who was not answered;
// that was no connection, and nothing would be cut with it.
func TestAttemptsWereNotOpen(t *testing.T) {
	bed := testkit.NewBed(t)
	a, b := bed.Pod("a"), bed.Pod("b")
	bed.Echo(b, at(b, 0, 8080))
	run(t, a.Namespace, "nft", `table inet tracks { chain out { type filter hook output priority 0; ct state new counter; }; }`)
	run(t, b.Namespace, "nft", `table inet engine { chain in { type filter hook input priority 0; tcp dport 9 drop; }; }`)
	bed.Dial(a, "tcp", at(b, 0, 8080))
	if err := bed.Try(a, "tcp", at(b, 0, 9), 100*time.Millisecond); err == nil {
		t.Fatal("what is dropped was answered")
	}
	if err := a.Do(func() error {
		list, err := probe.Tracked(map[netip.Addr]ruleset.EndpointID{a.IPs[0]: 1})
		if len(list) != 1 || list[0].PeerPort != 8080 {
			t.Errorf("open: %+v", list)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestPodThatGoesIsClosed(t *testing.T) {
	eachHook(t, func(t *testing.T, o probe.Options) {
		p, s, bed, pods := start(t, o)
		bed.Echo(pods[1], at(pods[1], 0, 8080))
		bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
		s.await(t, "connection", func() bool { return s.find(2, flow.Ingress, flow.TCP, 8080) != nil })
		if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0])}); err != nil {
			t.Fatal(err)
		}
		s.await(t, "close", func() bool { return s.find(2, flow.Ingress, flow.TCP, 8080).GetCloseReason() == "pod gone" })
	})
}

func TestDeviceThatGoesIsNoticed(t *testing.T) {
	eachHook(t, func(t *testing.T, o probe.Options) {
		_, s, bed, pods := start(t, o)
		bed.Echo(pods[1], at(pods[1], 0, 8080))
		bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
		s.await(t, "connection", func() bool { return s.find(2, flow.Ingress, flow.TCP, 8080) != nil })
		l, err := pods[1].Netlink().LinkByIndex(pods[1].Index)
		if err != nil {
			t.Fatal(err)
		}
		if err := pods[1].Netlink().LinkDel(l); err != nil {
			t.Fatal(err)
		}
		s.await(t, "word of it", func() bool { return !s.states[2].GetAttached() && s.states[2].GetError() != "" })
		s.await(t, "close", func() bool { return s.find(2, flow.Ingress, flow.TCP, 8080).GetCloseReason() == "pod gone" })
	})
}

func TestResendTellsEverything(t *testing.T) {
	p, s, bed, pods := start(t, probe.Options{})
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
	s.await(t, "connection", func() bool {
		return s.find(1, flow.Egress, flow.TCP, 8080) != nil && s.find(2, flow.Ingress, flow.TCP, 8080) != nil
	})
	s.mu.Lock()
	clear(s.flows)
	clear(s.states)
	s.mu.Unlock()
	p.Resend()
	s.mu.Lock()
	if s.find(1, flow.Egress, flow.TCP, 8080) == nil || s.find(2, flow.Ingress, flow.TCP, 8080) == nil || len(s.states) != 2 {
		t.Errorf("flows %v, states %v", s.flows, s.states)
	}
	s.mu.Unlock()
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		p.Stats() // harmless from now on
		p.Loss()
	}()
	if st := p.Stats(); st.GetMapBytes() == 0 || st.GetRssBytes() == 0 || st.GetConnections() < 2 {
		t.Errorf("stats %v", st)
	}
}
