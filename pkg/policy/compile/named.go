// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// portAsk is a named port as a rule writes it.
type portAsk struct {
	name     string
	protocol flow.Protocol
}

// namedAsk is what a port name of egress rules stands for, on all pods.
type namedAsk struct {
	rules   int // that ask for it
	pods    map[identity.NamedPort]int
	numbers []identity.NamedPort // sorted, without names
}

func (c *Compiler) countPorts(ps *podState, n int, ch *changes) {
	if len(c.universe) == 0 {
		return
	}
	for _, p := range ps.pod.Ports {
		for _, ask := range [2]portAsk{{p.Name, 0}, {p.Name, p.Protocol}} {
			u := c.universe[ask]
			if _, fresh := ch.newAsks[ask]; u == nil || fresh {
				continue
			}
			u.count(p, n)
			ch.asks[ask] = struct{}{}
		}
	}
}

func (u *namedAsk) count(p identity.NamedPort, n int) {
	port := identity.NamedPort{Protocol: p.Protocol, Number: p.Number}
	if u.pods == nil {
		u.pods = map[identity.NamedPort]int{}
	}
	if u.pods[port] += n; u.pods[port] == 0 {
		delete(u.pods, port)
	}
}

// askNames settles what the port names of egress rules stand for, on all pods
// of the world.
func (c *Compiler) askNames(ch *changes) {
	if len(ch.newAsks) > 0 {
		for _, ps := range c.pods {
			if ps.pod.Done {
				continue
			}
			for _, p := range ps.pod.Ports {
				for _, ask := range [2]portAsk{{p.Name, 0}, {p.Name, p.Protocol}} {
					if _, fresh := ch.newAsks[ask]; fresh {
						c.universe[ask].count(p, 1)
						ch.persons[ps] = struct{}{}
					}
				}
			}
		}
	}
	for ask := range ch.newAsks {
		ch.asks[ask] = struct{}{}
	}
	for ask, u := range c.universe {
		if u.rules == 0 {
			delete(c.universe, ask)
			delete(ch.asks, ask)
			for _, ps := range c.pods {
				if slices.ContainsFunc(ps.pod.Ports, func(p identity.NamedPort) bool { return p.Name == ask.name }) {
					ch.persons[ps] = struct{}{}
				}
			}
		}
	}
	for ask := range ch.asks {
		u := c.universe[ask]
		now := sortPorts(slices.Collect(maps.Keys(u.pods)))
		if slices.Equal(now, u.numbers) {
			delete(ch.asks, ask)
		}
		u.numbers = now
	}
	if len(ch.asks) == 0 {
		return
	}
	for _, ps := range c.pods {
		if ps.egress != nil && slices.ContainsFunc(ps.egress.parts.named, func(n namedPorts) bool {
			_, changed := ch.asks[portAsk{n.name, n.protocol}]
			return changed
		}) {
			ch.subjects[ps] = struct{}{}
		}
	}
}

func sortPorts(list []identity.NamedPort) []identity.NamedPort {
	slices.SortFunc(list, func(a, b identity.NamedPort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	return slices.Compact(list)
}
