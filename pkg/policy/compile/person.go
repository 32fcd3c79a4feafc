// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// space holds the peers with selectors that may match pods of one namespace:
// what depends on the namespace alone is settled. Peers of policies that are
// gone stay; no set asks about them.
type space struct {
	namespace   *identity.Namespace // as of which labels; nil: not known
	fixed, wide int                 // how many of the compiler's lists were looked at
	atoms       []atomID
}

// spaceOf brings a namespace's space up to date.
func (o *Output) spaceOf(name string) *space {
	s, ns := o.c.spaces[name], o.in.World.Namespaces[name]
	if s == nil || s.namespace != ns {
		s = &space{namespace: ns}
		o.c.spaces[name] = s
	}
	if fixed := o.c.fixed[name]; s.fixed < len(fixed) {
		s.atoms = append(s.atoms, fixed[s.fixed:]...)
		s.fixed = len(fixed)
	}
	if s.wide < len(o.c.wide) {
		labels := o.view.NamespaceLabels(name)
		for _, a := range o.c.wide[s.wide:] {
			if o.c.atoms[a].peer.Namespaces.Matches(labels) {
				s.atoms = append(s.atoms, a)
			}
		}
		s.wide = len(o.c.wide)
	}
	return s
}

// person is all that any rule of any policy can know of a pod. It is kept as
// long as the pod, its namespace and what could be asked stay the same.
func (o *Output) person(pod *identity.Pod) *person {
	if p := o.persons[pod]; p != nil {
		return p
	}
	s := o.spaceOf(pod.Namespace)
	p := o.c.persons[pod]
	if p == nil || p.space != s || p.asked != len(s.atoms) || p.portNames != o.asked {
		p = o.newPerson(pod, s)
	}
	o.persons[pod] = p
	return p
}

func (o *Output) newPerson(pod *identity.Pod, s *space) *person {
	p := &person{space: s, asked: len(s.atoms), portNames: o.asked}
	for _, a := range s.atoms {
		if o.c.atoms[a].peer.Pods.Matches(pod.Labels) {
			p.atoms = append(p.atoms, a)
		}
	}
	slices.Sort(p.atoms)
	for _, port := range pod.Ports {
		for _, ask := range []portAsk{{port.Name, 0}, {port.Name, port.Protocol}} {
			if _, asked := o.universe[ask]; asked {
				p.names = append(p.names, portName{port.Name, ask.protocol, port.Protocol, port.Number})
			}
		}
	}
	slices.SortFunc(p.names, func(a, b portName) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.asked, b.asked), cmp.Compare(a.is, b.is), cmp.Compare(a.number, b.number))
	})
	p.names = slices.Compact(p.names)
	return p
}
