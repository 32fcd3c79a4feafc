// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"strings"
)

// groupName is a name that pairs refer to, for as long as one does.
type groupName struct {
	name    string
	service bool
	at      int32 // in sums.named
	refs    int
}

func (g *groupName) compare(o *groupName) int {
	if g == o {
		return 0
	}
	return strings.Compare(g.name, o.name)
}

// group is the name that an end is summed up under. Whoever keeps it counts
// itself in refs, and releases it.
func (m *sums) group(w *who, addr netip.AddrPort) *groupName {
	name := w.group()
	if name == "" {
		name = addr.Addr().String()
	}
	g := m.groups[name]
	if g == nil {
		g = &groupName{name: name, service: w.service != "" && w.service == name}
		m.groups[name] = g
		if last := len(m.unnamed) - 1; last >= 0 {
			g.at, m.unnamed = m.unnamed[last], m.unnamed[:last]
			m.named[g.at] = g
		} else {
			g.at = int32(len(m.named)) //nolint:gosec // two for each row at most
			m.named = append(m.named, g)
		}
	}
	return g
}

// release forgets a name that nothing refers to any more.
func (m *sums) release(g *groupName) {
	if g.refs--; g.refs > 0 {
		return
	}
	delete(m.groups, g.name)
	m.named[g.at] = nil
	m.unnamed = append(m.unnamed, g.at)
}
