// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// space is a namespace, known or not, with what is asked about its pods. It
// holds the peers with selectors that may match them: what depends on the
// namespace alone is settled. Peers of policies that are gone stay; no set
// asks about them.
type space struct {
	name        string
	labels      map[string]string
	pods        map[*podState]struct{}
	policies    []*content // that are for pods of this namespace, in order
	fixed, wide int        // how many of the compiler's lists were looked at
	atoms       []atomID
}

func (c *Compiler) space(name string) *space {
	s := c.spaces[name]
	if s == nil {
		s = &space{name: name, labels: c.namespaceLabels(name), pods: map[*podState]struct{}{}}
		c.spaces[name] = s
	}
	return s
}

// place files a peer with selectors under the namespaces that it may match.
func (c *Compiler) place(id atomID) {
	if p := &c.atoms[id].peer; p.Namespace != "" {
		c.fixed[p.Namespace] = append(c.fixed[p.Namespace], id)
	} else {
		c.wide = append(c.wide, id)
	}
}

// look brings a namespace's peers up to date and gives those that are new.
func (c *Compiler) look(s *space) []atomID {
	before := len(s.atoms)
	if fixed := c.fixed[s.name]; s.fixed < len(fixed) {
		s.atoms = append(s.atoms, fixed[s.fixed:]...)
		s.fixed = len(fixed)
	}
	if s.wide < len(c.wide) {
		for _, a := range c.wide[s.wide:] {
			if c.atoms[a].peer.Namespaces.Matches(s.labels) {
				s.atoms = append(s.atoms, a)
			}
		}
		s.wide = len(c.wide)
	}
	return s.atoms[before:]
}

// person is all that any rule of any policy can know of a pod. Pods of which
// rules know the same share one.
type person struct {
	atoms []atomID    // that select it; sorted
	names []askedName // its named ports; sorted
	text  string      // that it is interned by
	pods  map[*podState]struct{}
}

// askedName is a pod's named port, with the number of what asks for it.
type askedName struct {
	portName
	atom atomID
}

func (p *person) empty() bool { return len(p.atoms) == 0 && len(p.names) == 0 }

// findPersons finds again what rules can know of pods: of those that changed,
// and of those that a peer selects of which nobody was asked before.
func (c *Compiler) findPersons(ch *changes) {
	wide := false
	spaces := map[string]bool{}
	for _, id := range c.fresh {
		c.place(id)
		ns := c.atoms[id].peer.Namespace
		spaces[ns] = true
		wide = wide || ns == ""
	}
	c.fresh = c.fresh[:0]
	for _, s := range c.spaces {
		if !wide && !spaces[s.name] {
			continue
		}
		fresh := c.look(s)
		if len(fresh) == 0 {
			continue
		}
		for ps := range s.pods {
			if slices.ContainsFunc(fresh, func(a atomID) bool { return c.atoms[a].peer.Pods.Matches(ps.pod.Labels) }) {
				ch.persons[ps] = struct{}{}
			}
		}
	}
	for ps := range ch.persons {
		if ps.pod.Done || c.pods[ps.key] != ps {
			continue
		}
		c.look(ps.space)
		if !c.setPerson(ps, c.personOf(ps)) {
			continue
		}
		if ps.pod.HostNetwork {
			c.markNode(ps.pod.Node, ch)
			continue
		}
		for _, ip := range ps.pod.IPs {
			ch.addresses[ip] = struct{}{}
		}
	}
}

// setPerson says whether that is a change.
func (c *Compiler) setPerson(ps *podState, p *person) bool {
	old := ps.person
	if old == p {
		return false
	}
	ps.person = p
	if p != nil {
		p.pods[ps] = struct{}{}
	}
	if old == nil {
		return true
	}
	if delete(old.pods, ps); len(old.pods) == 0 {
		delete(c.persons, old.text)
		old.eachAsked(func(a asking) { delete(c.askers[a], old) })
	}
	return true
}

func (c *Compiler) personOf(ps *podState) *person {
	p := &person{}
	for _, a := range ps.space.atoms {
		if c.atoms[a].peer.Pods.Matches(ps.pod.Labels) {
			p.atoms = append(p.atoms, a)
		}
	}
	slices.Sort(p.atoms)
	for _, port := range ps.pod.Ports {
		for _, ask := range [2]portAsk{{port.Name, 0}, {port.Name, port.Protocol}} {
			if c.universe[ask] != nil {
				p.names = append(p.names, askedName{portName{port.Name, ask.protocol, port.Protocol, port.Number}, c.portAtom(ask)})
			}
		}
	}
	slices.SortFunc(p.names, func(a, b askedName) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.asked, b.asked), cmp.Compare(a.is, b.is), cmp.Compare(a.number, b.number))
	})
	p.names = slices.Compact(p.names)
	key := p.key(nil)
	if known := c.persons[string(key)]; known != nil {
		return known
	}
	p.text, p.pods = string(key), map[*podState]struct{}{}
	c.persons[p.text] = p
	p.eachAsked(func(a asking) {
		if c.askers[a] == nil {
			c.askers[a] = map[*person]struct{}{}
		}
		c.askers[a][p] = struct{}{}
	})
	return p
}

// addressesOf calls f with the addresses at which a person may be met: its
// pods' own, or those of the nodes whose network they use.
func (c *Compiler) addressesOf(p *person, f func(ip netip.Addr)) {
	for ps := range p.pods {
		ips := ps.pod.IPs
		if ps.pod.HostNetwork {
			ips = nil
			if n := c.last.Nodes[ps.pod.Node]; n != nil {
				ips = n.IPs
			}
		}
		for _, ip := range ips {
			f(ip)
		}
	}
}

// asking is one thing that sets ask about peers: a peer as written, or a port
// name, which is numbered like one.
type asking = atomID

// findAskings lists what the set asks, each once.
func (s *set) findAskings(c *Compiler) {
	for i := range s.rules {
		s.askings = append(append(s.askings, s.rules[i].pods...), s.rules[i].address...)
	}
	if s.asksNames() {
		for _, n := range s.parts.named {
			s.askings = append(s.askings, c.portAtom(portAsk{n.name, n.protocol}))
		}
	}
	slices.Sort(s.askings)
	s.askings = slices.Clip(slices.Compact(s.askings))
}

func (k *class) eachAsked(f func(asking)) {
	for _, a := range k.address {
		f(a)
	}
	k.self.eachAsked(f)
	for i := range k.hosts {
		k.hosts[i].eachAsked(f)
	}
}

func (p *person) eachAsked(f func(asking)) {
	for _, a := range p.atoms {
		f(a)
	}
	for _, n := range p.names {
		f(n.atom)
	}
}

// kindOf is the kind of peer that is asked about; 0: a port name.
func (c *Compiler) kindOf(a asking) policy.PeerKind { return c.atoms[a].peer.Kind }
