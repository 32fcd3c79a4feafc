// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"cmp"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// manyPorts bounds the columns of one destination.
const manyPorts = 24

// ports are those that a workload is known by: of its containers, of services
// that lead to it, and of rules that are about it. None: one that no rule
// names, which stands for any.
func (b *builder) ports(e End) []Port {
	if len(b.in.Ports) > 0 {
		return b.in.Ports
	}
	var out []Port
	add := func(p Port) {
		i := slices.IndexFunc(out, func(o Port) bool { return o.Protocol == p.Protocol && o.Number == p.Number })
		switch {
		case i < 0 && len(out) < manyPorts:
			out = append(out, p)
		case i >= 0 && out[i].Name == "":
			out[i].Name = p.Name
		}
	}
	for _, pod := range e.pods {
		for _, p := range pod.Ports {
			add(Port{p.Protocol, p.Number, p.Name})
		}
		for _, p := range pod.Probes {
			add(Port{p.Protocol, p.Number, p.Name})
		}
	}
	b.servicePorts(e, add)
	b.rulePorts(e, add)
	if len(out) == 0 {
		out = append(out, Port{flow.TCP, 80, ""})
	}
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	return out
}

func (b *builder) servicePorts(e End, add func(Port)) {
	for _, s := range b.in.World.Services {
		if s.Namespace != e.Namespace {
			continue
		}
		for i := range s.Ports {
			for _, backend := range s.Ports[i].Backends {
				if slices.ContainsFunc(e.pods, func(p *identity.Pod) bool { return slices.Contains(p.IPs, backend.IP) }) {
					add(Port{s.Ports[i].Protocol, backend.Port, ""})
				}
			}
		}
	}
}

// indexRules sorts the rules that name ports by the namespaces they are about.
func (b *builder) indexRules() {
	b.ingress, b.egress = map[string][]*policy.Policy{}, map[string][]*policy.Rule{}
	for _, p := range slices.Concat(b.in.Current, b.in.Candidate) {
		if slices.ContainsFunc(p.Ingress, namesPorts) {
			b.ingress[p.Subject.Namespace] = append(b.ingress[p.Subject.Namespace], p)
		}
		for i := range p.Egress {
			r := &p.Egress[i]
			if !namesPorts(*r) {
				continue
			}
			var at []string
			for _, peer := range r.Peers {
				if peer.Kind == policy.PodPeer && !slices.Contains(at, peer.Namespace) {
					at = append(at, peer.Namespace)
					b.egress[peer.Namespace] = append(b.egress[peer.Namespace], r)
				}
			}
		}
	}
}

func namesPorts(r policy.Rule) bool {
	return slices.ContainsFunc(r.Ports, func(p policy.Port) bool { return p.Name == "" && !p.All() })
}

// rulePorts are those that ingress rules for the workload, and egress rules
// to it, name by number; of a range the first.
func (b *builder) rulePorts(e End, add func(Port)) {
	pick := func(r *policy.Rule) {
		for _, p := range r.Ports {
			if p.Name == "" && !p.All() {
				add(Port{p.Protocol, p.From, ""})
			}
		}
	}
	pod := e.pods[0]
	for _, p := range slices.Concat(b.ingress[e.Namespace], b.ingress[""]) {
		if b.view.Selects(&p.Subject, pod) {
			for i := range p.Ingress {
				pick(&p.Ingress[i])
			}
		}
	}
	for _, r := range slices.Concat(b.egress[e.Namespace], b.egress[""]) {
		if slices.ContainsFunc(r.Peers, func(peer policy.Peer) bool { return peer.Kind == policy.PodPeer && b.view.SelectsPeer(&peer, pod) }) {
			pick(r)
		}
	}
}

// outsidePort is what is asked of the world outside.
func (b *builder) outsidePort() Port {
	if len(b.in.Ports) > 0 {
		return b.in.Ports[0]
	}
	return Port{flow.TCP, 443, ""}
}
