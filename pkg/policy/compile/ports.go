// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/binary"
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
	specs []int              // the numeric ports of rules that match, by their number in the set; sorted
	named identity.NamedPort // set if a name stands for this very port somewhere
	rules []int              // that match it by number, or any port; sorted
}

func (k *portClass) key() string {
	b := []byte{byte(k.named.Protocol), byte(k.named.Number >> 8), byte(k.named.Number)}
	for _, i := range k.specs {
		b = binary.LittleEndian.AppendUint32(b, uint32(i)) //nolint:gosec // as many as there are ports
	}
	return string(b)
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
// and gives equal pieces one class. It fails if there are more kinds than numbers.
func (s *set) addPorts() error {
	list, users := s.numericPorts()
	s.ports.classes = []portClass{{}}
	ids := map[string]ruleset.PortClass{(&portClass{}).key(): 0}
	for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP} {
		ends, names := s.endsOf(protocol, list)
		if len(ends) == 0 && len(names) == 0 {
			continue
		}
		var active []int // ports as written that hold the present one; sorted
		class := func(port uint32) ruleset.PortClass {
			k := portClass{specs: active}
			if port <= 65535 && names[uint16(port)] {
				k.named = identity.NamedPort{Protocol: protocol, Number: uint16(port)}
			}
			key := k.key()
			id, known := ids[key]
			if !known {
				id = ruleset.PortClass(len(s.ports.classes)) //nolint:gosec // too many are refused below
				ids[key] = id
				k.specs = slices.Clone(active)
				s.ports.classes = append(s.ports.classes, k)
			}
			return id
		}
		cross := func(at uint32) {
			for _, i := range ends[at] {
				if j, in := slices.BinarySearch(active, i); in {
					active = slices.Delete(active, j, j+1)
				} else {
					active = slices.Insert(active, j, i)
				}
			}
		}
		cuts := []uint32{1, 65536}
		for at := range ends {
			cuts = append(cuts, at)
		}
		for n := range names {
			cuts = append(cuts, uint32(n), uint32(n)+1)
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		// Port 0 is in no rule but those for the whole protocol, as are all
		// ports that nobody names.
		if cuts[0] == 0 {
			cuts = cuts[1:]
		}
		cross(0)
		rest := class(0)
		if rest != 0 {
			s.ports.single = append(s.ports.single, ruleset.Port{Protocol: uint8(protocol), Class: rest})
		}
		for i := 0; i+1 < len(cuts); i++ {
			cross(cuts[i])
			if k := class(cuts[i]); k != rest {
				s.addRun(protocol, cuts[i], cuts[i+1]-1, k)
			}
		}
	}
	if n := len(s.ports.classes); n > int(ruleset.ServicePorts) {
		return fmt.Errorf("%s rules of %d policies tell %d kinds of ports apart for one pod, at most %d fit: write ranges instead of single ports",
			s.parts.direction, len(s.parts.versions), n, int(ruleset.ServicePorts))
	}
	s.indexPorts(users)
	return nil
}

// numericPorts lists the numeric ports of the set's rules, each once, and for
// each the rules that have it.
func (s *set) numericPorts() (list []policy.Port, users [][]int) {
	number := map[policy.Port]int{}
	for at := range s.rules {
		r := &s.rules[at]
		for _, p := range r.ports {
			if p.Name != "" {
				r.names = append(r.names, p)
				continue
			}
			i, known := number[p]
			if !known {
				i = len(list)
				number[p] = i
				list, users = append(list, p), append(users, nil)
			}
			if n := len(users[i]); n == 0 || users[i][n-1] != at {
				users[i] = append(users[i], at)
			}
		}
	}
	return list, users
}

// endsOf says where a protocol's ports as written begin and where they are
// over, and which numbers port names stand for.
func (s *set) endsOf(protocol flow.Protocol, list []policy.Port) (ends map[uint32][]int, names map[uint16]bool) {
	ends, names = map[uint32][]int{}, map[uint16]bool{}
	for i, p := range list {
		if p.Protocol == protocol && p.From <= p.To {
			ends[uint32(p.From)] = append(ends[uint32(p.From)], i)
			ends[uint32(p.To)+1] = append(ends[uint32(p.To)+1], i)
		}
	}
	for _, n := range s.parts.named {
		for _, p := range n.numbers {
			if p.Protocol == protocol {
				names[p.Number] = true
			}
		}
	}
	return ends, names
}

// indexPorts notes the rules of each class.
func (s *set) indexPorts(users [][]int) {
	var always []int
	for i := range s.rules {
		if s.rules[i].anyPort {
			always = append(always, i)
		}
		if len(s.rules[i].names) > 0 {
			s.naming = append(s.naming, i)
		}
	}
	for i := range s.ports.classes {
		k := &s.ports.classes[i]
		if len(k.specs) == 0 {
			k.rules = always
			continue
		}
		k.rules = slices.Clone(always)
		for _, spec := range k.specs {
			k.rules = append(k.rules, users[spec]...)
		}
		slices.Sort(k.rules)
		k.rules = slices.Compact(k.rules)
	}
}

// maybe lists the rules that may match a class of ports, in order: those that
// do, and if a name stands for it those with names.
func (s *set) maybe(k *portClass) []int {
	if k.named.Number == 0 || len(s.naming) == 0 {
		return k.rules
	}
	out := slices.Concat(k.rules, s.naming)
	slices.Sort(out)
	return slices.Compact(out)
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
