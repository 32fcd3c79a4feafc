// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// dropTCP makes the namespace drop all TCP that arrives for itself.
func dropTCP(t *testing.T, in *netbed.Pod) {
	t.Helper()
	err := in.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
		chain := c.AddChain(&nftables.Chain{
			Name: "in", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{6}},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func needDrops(t *testing.T, p *probe.Probe) {
	t.Helper()
	for _, f := range p.Facts().Features {
		if f.GetName() == "drops" && !f.GetPresent() {
			t.Fatal(f.GetWhy())
		}
	}
}

func TestDropsAreNamed(t *testing.T) {
	p, s, bed, pods := start(t, probe.Options{})
	needDrops(t, p)
	dropTCP(t, pods[1])
	for i, family := range []string{"IPv4", "IPv6"} {
		if err := bed.Try(pods[0], "tcp", at(pods[1], i, 8080), 100*time.Millisecond); err == nil {
			t.Fatal("nothing was dropped")
		}
		src := pods[0].IPs[i]
		s.await(t, family+" sample", func() bool {
			for _, d := range s.drops {
				from, _ := netip.AddrFromSlice(d.GetSrc())
				if from == src && d.GetDport() == 8080 && d.GetReasonName() == "NETFILTER_DROP" && strings.HasPrefix(d.GetLocation(), "nft_do_chain+") &&
					len(d.GetStack()) > 2 && d.GetDevice() == "eth0" && d.GetTcpFlags() == 2 && d.GetWeight() > 0 && d.GetEndpoint() == 1 {
					return true
				}
			}
			return false
		})
	}
	s.await(t, "exact count", func() bool {
		for _, c := range s.counts {
			if c.GetReasonName() == "NETFILTER_DROP" && c.GetPackets() >= 2 && c.GetEndpoint() == 1 {
				return true
			}
		}
		return false
	})
}

// TestDropsOfOthersAreNot: another pod of the same address, of another node on
// this kernel, is none of our business.
func TestDropsOfOthersAreNot(t *testing.T) {
	p, s, _, pods := start(t, probe.Options{})
	needDrops(t, p)
	other := testkit.NewBed(t)
	twins := [2]*netbed.Pod{other.Pod("a"), other.Pod("b")}
	dropTCP(t, twins[1])
	if err := other.Try(twins[0], "tcp", at(twins[1], 0, 9090), 50*time.Millisecond); err == nil {
		t.Fatal("nothing was dropped")
	}
	// What comes after it in the ring must come after it here.
	dropTCP(t, pods[1])
	if err := other.Try(pods[0], "tcp", at(pods[1], 0, 8080), 50*time.Millisecond); err == nil {
		t.Fatal("nothing was dropped")
	}
	s.await(t, "our own drop", func() bool { return len(s.drops) > 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.drops {
		if d.GetDport() != 8080 {
			t.Errorf("not ours: %v", d)
		}
	}
}

func TestStormIsCountedNotTold(t *testing.T) {
	p, s, bed, pods := start(t, probe.Options{})
	needDrops(t, p)
	c := bed.Dial(pods[0], "udp", at(pods[1], 0, 9)) // nobody listens
	sent := uint64(0)
	send := func(packets int) {
		for range packets {
			if _, err := c.Write([]byte("x")); err == nil { // an ICMP error comes back now and then
				sent++
			}
		}
	}
	send(20000)
	counted := func() (n uint64) {
		for _, c := range s.counts {
			if c.GetReasonName() == "NO_SOCKET" {
				n += c.GetPackets()
			}
		}
		return n
	}
	s.await(t, "every packet", func() bool { return counted() >= sent })
	// A processor's next sample stands for what it didn't tell: a storm that is
	// over within 100 ms, or changed processors, had none. Whatever changes here
	// is a reason to send some more, which changes the count.
	s.await(t, "a sample that stands for several", func() bool {
		send(100)
		return slices.ContainsFunc(s.drops, func(d *wire.Drop) bool { return d.GetWeight() > 1 })
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sampled(t)
}

// sampled fails the test if more of a kind of drop was told than a processor
// may: four at once and then one in 100 ms, and one more in a second for its
// ends. Measured by the kernel's own clock, as a machine may be slow.
func (s *sink) sampled(t *testing.T) {
	t.Helper()
	kinds := map[string][]int64{}
	for _, d := range s.drops {
		kind := fmt.Sprintf("%s at %s to port %d, %x to %x", d.GetReasonName(), d.GetLocation(), d.GetDport(), d.GetSrc(), d.GetDst())
		kinds[kind] = append(kinds[kind], d.GetTimeNs())
	}
	for kind, times := range kinds {
		span := time.Duration(slices.Max(times) - slices.Min(times))
		most := runtime.NumCPU() * int(5+span/(100*time.Millisecond)+1+span/time.Second)
		if len(times) > most {
			t.Errorf("%s: %d samples in %v, at most %d wanted", kind, len(times), span, most)
		}
	}
}
