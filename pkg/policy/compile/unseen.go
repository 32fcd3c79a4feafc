// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// strangers stand for the pods of namespaces that the world doesn't show. An
// address that may be theirs has a class in which, in the wide reading, one of
// them has it; rules that may select them then leave the verdict open.
type strangers struct {
	scope    []string
	networks []netip.Prefix
	blocks   []atomID // the networks, as peers: edges of classes
	looked   int      // how many atoms were looked at
	person   person   // whom all peers select that may select any
}

// findStrangers makes everything anew if something changed: that is rare, and
// worlds that show few namespaces are small.
func (c *Compiler) findStrangers(w *identity.World) {
	s := &c.strangers
	networks := policy.UnseenNetworks(w)
	changed := !slices.Equal(w.Scope, s.scope)
	if changed {
		*s = strangers{scope: w.Scope}
	}
	if !slices.Equal(networks, s.networks) {
		s.networks, s.blocks, changed = networks, nil, true
		for _, n := range networks {
			s.blocks = append(s.blocks, c.intern("unseen "+n.String(), &policy.Peer{Kind: policy.CIDRPeer, CIDR: n, Internal: true}))
		}
		slices.Sort(s.blocks)
	}
	for ; s.looked < len(c.atoms); s.looked++ {
		if c.atoms[s.looked].peer.SelectsUnseen(s.scope) {
			s.person.atoms = append(s.person.atoms, atomID(s.looked)) //nolint:gosec // as many as there are
			changed = true
		}
	}
	if changed {
		for _, n := range c.nodes {
			n.stale = true
		}
	}
}

func (s *strangers) has(a atomID) bool {
	_, is := slices.BinarySearch(s.person.atoms, a)
	return is
}

// strange is the class of what lies under some blocks and is nobody's who is
// shown.
func (n *nodeState) strange(address []atomID) class {
	k := class{address: address}
	if meets(address, n.c.strangers.blocks) {
		k.hosts = []person{n.filtered(&n.c.strangers.person)}
	}
	return k
}
