// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// portTable is the partition of protocols and ports that a set's rules make.
type portTable struct {
	classes []portClass // by PortClass; 0: no port of any rule
	single  []ruleset.Port
	ranges  []ruleset.PortRange
}

// portClass is a kind of port: what all ports in it have in common.
type portClass struct {
	specs []policy.Port      // the numeric ports of rules that match, without names
	named identity.NamedPort // set if a name stands for this very port somewhere
}

func (k *portClass) key() string { return fmt.Sprint(k.specs, k.named) }

// has says whether a port as written matches the ports of the class, if the
// destination has the given named ports.
func (k *portClass) has(p policy.Port, destination []portName) bool {
	if p.Name == "" {
		return slices.Contains(k.specs, p)
	}
	if k.named.Number == 0 {
		return false
	}
	return slices.Contains(destination, portName{p.Name, p.Protocol, k.named.Protocol, k.named.Number})
}

// portName says that a name, asked for with a protocol or with any (0),
// stands for a port.
type portName struct {
	name   string
	asked  flow.Protocol
	is     flow.Protocol
	number uint16
}

// addPorts cuts each protocol's ports where some rule's port begins or ends,
// and gives equal pieces one class.
func (s *set) addPorts() {
	s.ports.classes = []portClass{{}}
	ids := map[string]ruleset.PortClass{(&portClass{}).key(): 0}
	for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP} {
		specs, names := s.portsOf(protocol)
		if len(specs) == 0 && len(names) == 0 {
			continue
		}
		class := func(port uint32) ruleset.PortClass {
			k := portClass{}
			for _, p := range specs {
				if uint32(p.From) <= port && port <= uint32(p.To) {
					k.specs = append(k.specs, p)
				}
			}
			if port <= 65535 && slices.Contains(names, uint16(port)) {
				k.named = identity.NamedPort{Protocol: protocol, Number: uint16(port)}
			}
			key := k.key()
			id, known := ids[key]
			if !known {
				id = ruleset.PortClass(len(s.ports.classes))
				ids[key] = id
				s.ports.classes = append(s.ports.classes, k)
			}
			return id
		}
		cuts := []uint32{1, 65536}
		for _, p := range specs {
			cuts = append(cuts, max(uint32(p.From), 1), uint32(p.To)+1)
		}
		for _, n := range names {
			cuts = append(cuts, uint32(n), uint32(n)+1)
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		// Port 0 is in no rule but those for the whole protocol, as are all
		// ports that nobody names.
		rest := class(0)
		if rest != 0 {
			s.ports.single = append(s.ports.single, ruleset.Port{Protocol: uint8(protocol), Class: rest})
		}
		for i := 0; i+1 < len(cuts); i++ {
			if k := class(cuts[i]); k != rest {
				s.addRun(protocol, cuts[i], cuts[i+1]-1, k)
			}
		}
	}
}

// portsOf lists the numeric ports of the set's rules for a protocol, each
// once, and the numbers that its port names stand for.
func (s *set) portsOf(protocol flow.Protocol) (specs []policy.Port, names []uint16) {
	for _, r := range s.rules {
		for _, p := range r.ports {
			if p.Name == "" && p.Protocol == protocol && !slices.Contains(specs, p) {
				specs = append(specs, p)
			}
		}
	}
	for _, n := range s.parts.named {
		for _, p := range n.numbers {
			if p.Protocol == protocol && !slices.Contains(names, p.Number) {
				names = append(names, p.Number)
			}
		}
	}
	return specs, names
}

// addRun writes the ports from..to, both included, as prefixes.
func (s *set) addRun(protocol flow.Protocol, from, to uint32, class ruleset.PortClass) {
	if from == to {
		s.ports.single = append(s.ports.single, ruleset.Port{Protocol: uint8(protocol), Port: uint16(from), Class: class})
		return
	}
	for from <= to {
		size := uint32(1) << min(bits.TrailingZeros32(from), 16)
		for from+size-1 > to {
			size >>= 1
		}
		s.ports.ranges = append(s.ports.ranges, ruleset.PortRange{
			Protocol: uint8(protocol), Port: uint16(from), Bits: uint8(16 - bits.TrailingZeros32(size)), Class: class,
		})
		from += size
	}
}

// portClassOf is the class of one port, as the tables give it.
func (s *set) portClassOf(protocol flow.Protocol, port uint16) ruleset.PortClass {
	var rest ruleset.PortClass
	for _, p := range s.ports.single {
		if p.Protocol != uint8(protocol) {
			continue
		}
		if p.Port == port {
			return p.Class
		}
		if p.Port == 0 {
			rest = p.Class
		}
	}
	for _, r := range s.ports.ranges {
		if r.Protocol == uint8(protocol) && port>>(16-r.Bits) == r.Port>>(16-r.Bits) {
			return r.Class
		}
	}
	return rest
}
