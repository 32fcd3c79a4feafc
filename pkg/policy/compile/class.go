// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// class is a peer class: what rules can know of an address. Nothing in it
// changes.
type class struct {
	id      ruleset.ClassID
	owned   bool     // a pod has the address for itself
	address []atomID // blocks and nodes that cover it; sorted
	self    person   // the pod that has it
	hosts   []person // pods on the host network of the node whose address it is (case 26)
}

func (p *person) key(b []byte) []byte {
	b = append(b, 'a')
	for _, a := range p.atoms {
		b = binary.LittleEndian.AppendUint32(b, uint32(a))
	}
	for _, n := range p.names {
		b = fmt.Appendf(b, "|%q/%d=%d/%d", n.name, n.asked, n.is, n.number)
	}
	return b
}

// classOf interns a class. A pod without a name or selector to it, under no
// block whose reach is contested, is like any other address.
func (c *Compiler) classOf(k class) *class {
	if meets(k.address, c.strangers.blocks) { // no rule names these
		k.address = slices.DeleteFunc(slices.Clone(k.address), func(a atomID) bool { return slices.Contains(c.strangers.blocks, a) })
	}
	if k.owned && !slices.ContainsFunc(k.address, func(a atomID) bool { return !c.atoms[a].peer.Internal }) {
		k.owned = false
	}
	hosts := make([]string, 0, len(k.hosts))
	kept := k.hosts[:0:0]
	for _, h := range k.hosts {
		key := string(h.key(nil))
		if !h.empty() && !slices.Contains(hosts, key) {
			hosts = append(hosts, key)
			kept = append(kept, h)
		}
	}
	slices.Sort(hosts)
	k.hosts = kept
	if !k.owned && len(k.address) == 0 && k.self.empty() && len(k.hosts) == 0 {
		return &class{}
	}
	b := []byte("class ")
	if k.owned {
		b = append(b, 'o')
	}
	for _, a := range k.address {
		b = binary.LittleEndian.AppendUint32(b, uint32(a))
	}
	b = k.self.key(append(b, '|'))
	b = append(b, strings.Join(hosts, "|host ")...)
	key := string(b)
	k.id = ruleset.ClassID(c.classIDs.id(key))
	if known := c.classes[k.id]; known != nil {
		return known
	}
	c.classes[k.id] = &k
	return &k
}
