// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// A selector that covers another selects whatever the other selects.
func TestSelectorCovers(t *testing.T) {
	keys, values := rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"x", "y"})
	draw := rapid.Custom(func(t *rapid.T) *metav1.LabelSelector {
		s := &metav1.LabelSelector{}
		for range rapid.IntRange(0, 2).Draw(t, "n") {
			r := metav1.LabelSelectorRequirement{Key: keys.Draw(t, "key"), Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"}).Draw(t, "op")}
			if r.Operator == "In" || r.Operator == "NotIn" {
				r.Values = rapid.SliceOfN(values, 1, 2).Draw(t, "values")
			}
			s.MatchExpressions = append(s.MatchExpressions, r)
		}
		return s
	})
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		a, err := NewSelector(draw.Draw(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewSelector(draw.Draw(t, "b"))
		if err != nil {
			t.Fatal(err)
		}
		if !a.Covers(b) {
			return
		}
		covered++
		for _, l := range []map[string]string{{}, {"a": "x"}, {"a": "y"}, {"b": "x"}, {"b": "y"}, {"a": "x", "b": "x"}, {"a": "x", "b": "y"}, {"a": "y", "b": "x"}, {"a": "y", "b": "y"}} {
			if b.Matches(l) && !a.Matches(l) {
				t.Fatalf("%q covers %q, but not %v", a, b, l)
			}
		}
	})
	if covered == 0 {
		t.Error("nothing covered anything")
	}
}

func TestRuleCovers(t *testing.T) {
	block := func(cidr string, except ...string) Rule {
		p := Peer{Kind: CIDRPeer, CIDR: netip.MustParsePrefix(cidr)}
		for _, e := range except {
			p.Except = append(p.Except, netip.MustParsePrefix(e))
		}
		return Rule{Peers: []Peer{p}, AnyPort: true}
	}
	port := func(from, to uint16) Rule {
		return Rule{AnyPeer: true, Ports: []Port{{Protocol: flow.TCP, From: from, To: to}}}
	}
	for _, c := range []struct {
		name string
		a, b Rule
		want bool
	}{
		{"all covers a block", Rule{AnyPeer: true, AnyPort: true}, block("10.0.0.0/8"), true},
		{"a block not all", block("0.0.0.0/0"), Rule{AnyPeer: true, AnyPort: true}, false},
		{"wider", block("10.0.0.0/8"), block("10.1.0.0/16"), true},
		{"narrower", block("10.1.0.0/16"), block("10.0.0.0/8"), false},
		{"a hole inside", block("10.0.0.0/8", "10.1.2.0/24"), block("10.1.0.0/16"), false},
		{"a hole elsewhere", block("10.0.0.0/8", "10.2.2.0/24"), block("10.1.0.0/16"), true},
		{"the same hole", block("10.0.0.0/8", "10.1.2.0/24"), block("10.1.0.0/16", "10.1.2.0/23"), true},
		{"ports", port(80, 90), port(81, 81), true},
		{"more ports", port(81, 81), port(80, 90), false},
		{"all ports", Rule{AnyPeer: true, AnyPort: true}, port(80, 80), true},
		{"one port", port(80, 80), Rule{AnyPeer: true, AnyPort: true}, false},
		{"matches nothing", block("10.0.0.0/8"), Rule{AnyPort: true}, true},
	} {
		if got := c.a.Covers(&c.b); got != c.want {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}
