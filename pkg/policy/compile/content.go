// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// atomID names one peer as written: a pair of selectors, a block, a selector
// of nodes. Equal peers of any policy share one.
type atomID uint32

// atom is what an atomID stands for.
type atom struct {
	id   atomID
	peer policy.Peer
}

// atomText is the canonical text of a peer; equal texts match equally.
func atomText(p *policy.Peer) string {
	switch p.Kind {
	case policy.CIDRPeer:
		var except []string
		for _, e := range p.Except {
			except = append(except, e.String())
		}
		slices.Sort(except)
		return fmt.Sprintf("block %s except %s internal=%t", p.CIDR, strings.Join(slices.Compact(except), ","), p.Internal)
	case policy.NodePeer:
		return "nodes " + p.Nodes.String()
	}
	if p.Namespace != "" {
		return "pods " + p.Pods.String() + " in " + p.Namespace
	}
	return "pods " + p.Pods.String() + " in namespaces " + p.Namespaces.String()
}

// content is one version of a policy, made of interned parts.
type content struct {
	id     uint32 // equal contents have equal ids
	text   string
	policy *policy.Policy
	rules  [2][]rule // ingress, egress

	now   *version // nil: not in this generation
	count struct{ entries, current, candidate, enforced int }
	sets  map[*set]struct{} // that have bits of it
}

// pointed is what a policy's pointer led to, as long as an input has it.
type pointed struct {
	*content
	entries int
}

// rule is a rule in numbers.
type rule struct {
	index   int
	action  policy.Action
	tier    policy.Tier
	anyPeer bool
	pods    []atomID // sorted
	address []atomID // sorted; blocks and nodes
	anyPort bool
	ports   []policy.Port
}

func side(d flow.Direction) int {
	if d == flow.Egress {
		return 1
	}
	return 0
}

// contentOf interns a policy. Contents are found by pointer first, as
// unchanged policies are the rule; equal contents are one.
func (c *Compiler) contentOf(p *policy.Policy) *content {
	if known := c.contents[p]; known != nil {
		return known.content
	}
	out := &content{policy: p, sets: map[*set]struct{}{}}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s/%s %s %d isolates %t %t\n", p.Kind, p.Namespace, p.Name, p.Tier, p.Priority, p.IsolatesIngress, p.IsolatesEgress)
	fmt.Fprintf(&text, "subject none=%t %q %q %q\n", p.Subject.None, p.Subject.Namespace, p.Subject.Namespaces, p.Subject.Pods)
	for _, d := range []flow.Direction{flow.Ingress, flow.Egress} {
		for i := range p.Rules(d) {
			r := c.ruleOf(p, &p.Rules(d)[i])
			out.rules[side(d)] = append(out.rules[side(d)], r)
			fmt.Fprintf(&text, "%s %d %s any=%t,%t %v %v", d, r.index, r.action, r.anyPeer, r.anyPort, r.pods, r.address)
			for _, port := range r.ports {
				fmt.Fprintf(&text, " %s/%q/%d-%d", port.Protocol, port.Name, port.From, port.To)
			}
			text.WriteByte('\n')
		}
	}
	out.text = text.String()
	out.id = c.contentIDs.id(out.text)
	if same := c.byID[out.id]; same != nil {
		out = same
	}
	c.byID[out.id] = out
	c.contents[p] = &pointed{content: out}
	return out
}

func (c *Compiler) ruleOf(p *policy.Policy, r *policy.Rule) rule {
	out := rule{index: r.Index, action: r.Action, tier: p.Tier, anyPeer: r.AnyPeer, anyPort: r.AnyPort}
	for i := range r.Peers {
		id := c.atomOf(&r.Peers[i])
		if r.Peers[i].Kind == policy.PodPeer {
			out.pods = append(out.pods, id)
		} else {
			out.address = append(out.address, id)
		}
	}
	for _, list := range []*[]atomID{&out.pods, &out.address} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, port := range r.Ports {
		port.Line = 0
		out.ports = append(out.ports, port)
	}
	return out
}

func (c *Compiler) atomOf(p *policy.Peer) atomID { return c.intern(atomText(p), p) }

func (c *Compiler) intern(text string, p *policy.Peer) atomID {
	id := atomID(c.atomIDs.id(text))
	for int(id) >= len(c.atoms) {
		c.atoms = append(c.atoms, atom{})
	}
	if c.atoms[id].id == 0 {
		c.atoms[id] = atom{id, *p}
		switch p.Kind {
		case policy.PodPeer:
			c.fresh = append(c.fresh, id)
		case policy.NodePeer:
			c.nodeAtoms = append(c.nodeAtoms, id)
		}
	}
	return id
}

// portAtom numbers a port name that is asked for like a peer. Its atom is of no
// kind.
func (c *Compiler) portAtom(ask portAsk) atomID {
	id, known := c.portAtoms[ask]
	if !known {
		id = c.intern(fmt.Sprintf("port %q/%d", ask.name, ask.protocol), &policy.Peer{})
		c.portAtoms[ask] = id
	}
	return id
}

// interner hands out numbers by content, from 1.
type interner struct {
	ids  map[string]uint32
	last uint32
}

func (n *interner) id(text string) uint32 {
	if id, ok := n.ids[text]; ok {
		return id
	}
	if n.ids == nil {
		n.ids = map[string]uint32{}
	}
	n.last++
	n.ids[text] = n.last
	return n.last
}
