// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Part is one of the answers to a question about many: an address block, the
// pods of a workload, all pods with some labels.
type Part struct {
	From string `json:"from"` // a block, an address, or a pod's namespace/name
	To   string `json:"to"`
	Answer
	Packet policy.Packet `json:"-"` // one that stands for all of the part
}

// maxParts bounds how many pairs one question may be about.
const maxParts = 200_000

// Parts answers a question whose ends may be many, for each of them. Blocks are
// split where their addresses have different answers, and nowhere else.
func (b *Batch) Parts(q *Query) ([]Part, error) {
	from, to, err := b.places(q)
	if err != nil {
		return nil, err
	}
	froms, tos := b.split(from), b.split(to)
	if n := len(froms) * len(tos); n > maxParts {
		return nil, fmt.Errorf("%q and %q are %d pairs with answers of their own, more than %d: ask about less", q.From, q.To, n, maxParts)
	}
	var out []Part
	for _, f := range froms {
		var row []Part
		for _, t := range tos {
			p, err := b.packet(q, f.Place, t.Place)
			if err != nil {
				if len(froms)*len(tos) > 1 && !common(f.IPs, t.IPs) {
					continue // of another family: other pairs have one in common
				}
				return nil, err
			}
			a, err := b.Evaluate(p)
			if err != nil {
				return nil, err
			}
			row = append(row, Part{From: f.name(p.Source), To: t.name(p.Destination), Answer: a, Packet: p})
		}
		out = append(out, mergeBlocks(row, func(p *Part) *string { return &p.To })...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q and %q have no address family in common", q.From, q.To)
	}
	slices.SortStableFunc(out, func(x, y Part) int { return strings.Compare(x.To, y.To) })
	out = mergeBlocks(out, func(p *Part) *string { return &p.From })
	return out, nil
}

// Differ says whether the parts have different answers.
func Differ(parts []Part) bool {
	for i := range parts[1:] {
		if !same(&parts[0].Answer, &parts[i+1].Answer) {
			return true
		}
	}
	return false
}

func same(a, b *Answer) bool { return string(a.append(nil)) == string(b.append(nil)) }

// one is one of the many that a place stands for.
type one struct {
	Place
	block netip.Prefix // valid iff it is a part of a block
}

func (o one) name(ip netip.Addr) string {
	switch {
	case o.block.IsValid() && !o.block.IsSingleIP():
		return o.block.String()
	case o.Pod != nil && !o.block.IsValid():
		return o.Pod.Key()
	}
	return ip.String()
}

// split lists what a place is made of.
func (b *Batch) split(p Place) []one {
	switch {
	case p.Block.IsValid():
		var out []one
		for _, part := range splitAt(p.Block, b.edges(), nil) {
			out = append(out, one{Place{IPs: []netip.Addr{part.Addr()}, Text: p.Text}, part})
		}
		return out
	case len(p.Pods) > 0:
		var out []one
		for _, pod := range p.Pods {
			out = append(out, one{Place: Place{IPs: pod.IPs, Pod: pod, Text: p.Text}})
		}
		return out
	}
	return []one{{Place: p}}
}

// splitAt cuts a block so that no edge begins or ends inside of a part.
func splitAt(block netip.Prefix, edges, out []netip.Prefix) []netip.Prefix {
	var inside []netip.Prefix
	for _, e := range edges {
		if e.Bits() > block.Bits() && block.Contains(e.Addr()) {
			inside = append(inside, e)
		}
	}
	if len(inside) == 0 {
		return append(out, block)
	}
	low, high := halves(block)
	return splitAt(high, inside, splitAt(low, inside, out))
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(upper, p.Bits()+1)
}

// edges are the addresses and blocks at which answers may change.
func (b *Batch) edges() []netip.Prefix {
	seen := map[netip.Prefix]bool{}
	add := func(ips ...netip.Addr) {
		for _, ip := range ips {
			seen[netip.PrefixFrom(ip, ip.BitLen())] = true
		}
	}
	for _, p := range b.policies {
		for _, rules := range [][]policy.Rule{p.Ingress, p.Egress} {
			for i := range rules {
				for j := range rules[i].Peers {
					if peer := &rules[i].Peers[j]; peer.Kind == policy.CIDRPeer {
						seen[peer.CIDR] = true
						for _, e := range peer.Except {
							seen[e] = true
						}
					}
				}
			}
		}
	}
	for _, p := range b.view.World.Pods {
		if !p.Done && !p.NoIP {
			add(p.IPs...)
		}
	}
	for _, n := range b.view.World.Nodes {
		add(n.IPs...)
	}
	for _, s := range b.view.World.Services {
		add(s.IPs...)
		add(s.ExternalIPs...)
	}
	out := make([]netip.Prefix, 0, len(seen))
	for p := range seen {
		out = append(out, p)
	}
	return out
}

// mergeBlocks joins neighbours with equal answers to the block that both make.
// Parts that aren't blocks stay as they are.
func mergeBlocks(parts []Part, end func(*Part) *string) []Part {
	var out []Part
	for _, p := range parts {
		out = append(out, p)
		for len(out) > 1 {
			a, b := &out[len(out)-2], &out[len(out)-1]
			whole, ok := joined(*end(a), *end(b))
			x, y := *a, *b
			*end(&x), *end(&y) = "", ""
			if !ok || x.From != y.From || x.To != y.To || !same(&a.Answer, &b.Answer) {
				break
			}
			*end(a) = whole.String()
			out = out[:len(out)-1]
		}
	}
	return out
}

// joined is the block that two neighbours make up.
func joined(a, b string) (netip.Prefix, bool) {
	x, ok := asPrefix(a)
	y, ok2 := asPrefix(b)
	if !ok || !ok2 || x.Bits() != y.Bits() || x.Bits() == 0 {
		return netip.Prefix{}, false
	}
	whole := netip.PrefixFrom(x.Addr(), x.Bits()-1).Masked()
	low, high := halves(whole)
	return whole, low == x && high == y
}

func asPrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, true
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip, ip.BitLen()), true
}

func common(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(x netip.Addr) bool {
		return slices.ContainsFunc(b, func(y netip.Addr) bool { return x.Is4() == y.Is4() })
	})
}

// mostParts is how many of them are written out for people.
const mostParts = 40

// TextOfParts says for people what depends on the address.
func (b *Batch) TextOfParts(parts []Part) string {
	var w strings.Builder
	p := parts[0].Packet
	what := p.Protocol.String()
	if p.Port != 0 {
		what = fmt.Sprintf("%s %d", what, p.Port)
	}
	fmt.Fprintf(&w, "%s: the answer depends on who it is:\n", what)
	wide := 0
	lines := make([][2]string, 0, mostParts)
	for i := range parts[:min(len(parts), mostParts)] {
		part := &parts[i]
		who := b.who(part.From) + " to " + b.who(part.To)
		lines = append(lines, [2]string{who, marks[part.Verdict] + because(&part.Answer)})
		wide = max(wide, len(who))
	}
	for _, l := range lines {
		fmt.Fprintf(&w, "  %-*s  %s\n", wide, l[0], l[1])
	}
	if n := len(parts) - mostParts; n > 0 {
		fmt.Fprintf(&w, "  and %d more: -o json gives all of them\n", n)
	}
	w.WriteString("Ask about one of them for all reasons.\n")
	return w.String()
}

// who is a part's name with the pod's, if it is the address of one.
func (b *Batch) who(part string) string {
	ip, err := netip.ParseAddr(part)
	if err != nil {
		return part
	}
	if pod := b.view.Pod(ip); pod != nil {
		return fmt.Sprintf("%s (%s)", part, pod.Key())
	}
	if n := b.view.Node(ip); n != nil {
		return fmt.Sprintf("%s (node/%s)", part, n.Name)
	}
	return part
}

// because names what decided, in a few words.
func because(a *Answer) string {
	var out []string
	for _, e := range []struct {
		name string
		*End
	}{{"egress", a.Egress}, {"ingress", a.Ingress}} {
		switch {
		case e.End == nil:
		case e.Rule != nil:
			out = append(out, fmt.Sprintf("%s by %s", e.name, e.Rule))
		case len(e.IsolatedBy) > 0:
			out = append(out, fmt.Sprintf("%s isolated by %s", e.name, e.IsolatedBy[0]))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return ": " + strings.Join(out, ", ")
}

// alive are the pods of a list that have an address.
func alive(pods []*identity.Pod) []*identity.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p *identity.Pod) bool { return p.Done || len(p.IPs) == 0 })
}
