// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

const (
	packetsPerGeneration = 10
	generationsPerWorld  = 4
)

// enough says when to stop: after 50,000 packets, or as many as
// EBPOL_FUZZ_CASES says, or for as long as EBPOL_FUZZ_FOR says.
func enough(t *testing.T) func(packets int) bool {
	t.Helper()
	if s := os.Getenv("EBPOL_FUZZ_FOR"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("EBPOL_FUZZ_FOR: %v", err)
		}
		end := time.Now().Add(d)
		return func(int) bool { return time.Now().After(end) }
	}
	want := 50_000
	if s := os.Getenv("EBPOL_FUZZ_CASES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("EBPOL_FUZZ_CASES: %v", err)
		}
		want = n
	}
	return func(packets int) bool { return packets >= want }
}

// TestEnginesAgree draws clusters and lets them live: at each generation the
// reference, the tables and the loaded programs are asked about the same
// packets, in both sets of policies and at both ends.
func TestEnginesAgree(t *testing.T) {
	stop, done, ends := enough(t), 0, 0
	for !stop(done) && !t.Failed() {
		// A fresh compiler and fresh kernels once in a while: numbers are never
		// used twice, so they would grow without end.
		t.Run("cluster", func(t *testing.T) {
			c := newCluster(t)
			rapid.Check(t, func(t *rapid.T) { n, e := c.live(t); done, ends = done+n, ends+e })
		})
	}
	t.Logf("%d packets, judged at %d ends", done, ends)
	if ends < done/2 {
		t.Errorf("of %d packets only %d ends have an endpoint", done, ends)
	}
}

// Likewise where a pod has more ordered rules than bits. A drawn change may take
// so many of them away that they fit; most worlds must not.
func TestEnginesAgreeOnMoreRulesThanBits(t *testing.T) {
	c, done, worlds, fit := newCluster(t), 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		g := gen.Draw(t)
		g.Modes = append(g.Modes, compile.PolicyMode{Policy: crowd(), Current: rapid.Bool().Draw(t, "current"), Candidate: true, Enforced: true})
		n, _ := c.liveFrom(t, g)
		done += n
		worlds++
		if slices.ContainsFunc(c.rules["n1"].Sets, func(s ruleset.Set) bool {
			return len(c.out.Names(s.ID).Bits) > 2*ruleset.Bits/3 // the rules are told apart
		}) {
			fit++
		}
	})
	t.Logf("%d packets", done)
	if 2*fit > worlds {
		t.Errorf("in %d of %d worlds the rules fit", fit, worlds)
	}
}

// crowd is a policy with more rules than bits, which take turns between
// accepting and denying; rule i is about port i+1.
func crowd() *policy.Policy {
	p := &policy.Policy{
		Kind: flow.ClusterNetworkPolicy, Name: "crowd", Tier: policy.Admin, Priority: 2,
		Subject: policy.Subject{Namespaces: policy.Everything(), Pods: policy.Everything()},
	}
	for i := range 2 * ruleset.Bits {
		port := uint16(i + 1) //nolint:gosec // some hundreds
		r := policy.Rule{Index: i, Action: []policy.Action{policy.Accept, policy.Deny}[i/4%2], AnyPeer: true}
		for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP} {
			r.Ports = append(r.Ports, policy.Port{Protocol: protocol, From: port, To: port + 3})
		}
		p.Ingress, p.Egress = append(p.Ingress, r), append(p.Egress, r)
	}
	return p
}

// live goes through the generations of one drawn cluster.
func (c *cluster) live(t *rapid.T) (packets, ends int) {
	return c.liveFrom(t, gen.Narrow(t, gen.Draw(t)))
}

func (c *cluster) liveFrom(t *rapid.T, g gen.Generation) (packets, ends int) {
	for i := range generationsPerWorld {
		if i > 0 {
			g = gen.Change(t, g)
		}
		c.set(t, g)
		for range packetsPerGeneration {
			ends += c.agree(t, gen.Packet(t, g.World))
			packets++
		}
	}
	return packets, ends
}

// FuzzEnginesAgree is the same, led by coverage, for as long as asked. It
// needs root, as the test does.
func FuzzEnginesAgree(f *testing.F) {
	c := newCluster(f)
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { c.live(t) }))
}
