// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// person is all that any rule of any policy can know of a pod.
func (o *Output) person(pod *identity.Pod) *person {
	if p := o.persons[pod]; p != nil {
		return p
	}
	p := &person{atoms: o.atomsOf(pod)}
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
	o.persons[pod] = p
	return p
}

// atomsOf lists the peers with selectors that match a pod, sorted.
func (o *Output) atomsOf(pod *identity.Pod) []atomID {
	var out []atomID
	for _, a := range o.selectors()[pod.Namespace] {
		if o.c.atoms[a].peer.Pods.Matches(pod.Labels) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// selectors lists, by namespace, the peers that may match pods there: what
// depends on the namespace alone is settled.
func (o *Output) selectors() map[string][]atomID {
	if o.inNamespace != nil {
		return o.inNamespace
	}
	o.inNamespace = map[string][]atomID{}
	names := map[string]bool{}
	for _, pod := range o.in.World.Pods {
		names[pod.Namespace] = true
	}
	seen := map[atomID]bool{}
	for _, v := range o.ordered {
		for _, rules := range v.rules {
			for _, r := range rules {
				for _, a := range r.pods {
					if !seen[a] {
						seen[a] = true
						o.addSelector(a, names)
					}
				}
			}
		}
	}
	return o.inNamespace
}

func (o *Output) addSelector(a atomID, names map[string]bool) {
	p := &o.c.atoms[a].peer
	if p.Kind != policy.PodPeer {
		return
	}
	if p.Namespace != "" {
		o.inNamespace[p.Namespace] = append(o.inNamespace[p.Namespace], a)
		return
	}
	for name := range names {
		if p.Namespaces.Matches(o.view.NamespaceLabels(name)) {
			o.inNamespace[name] = append(o.inNamespace[name], a)
		}
	}
}
