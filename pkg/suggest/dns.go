// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// localDNS is where NodeLocal DNSCache listens on every node by convention.
var localDNS = netip.MustParseAddr("169.254.20.10")

const dnsPort = 53

// resolver is what answers names in this cluster.
type resolver struct {
	ips    []netip.Addr     // of the service
	pods   []*identity.Pod  // that serve it
	hosts  []netip.AddrPort // backends that are no pods of the pod network
	ports  []uint16         // that the pods listen on
	local  bool             // NodeLocal DNSCache answers on the nodes
	serves map[policy.ServiceAddress]bool
}

func (m *maker) findDNS() *resolver {
	view := m.judge.Now()
	r := &resolver{ips: view.World.ClusterDNS, serves: map[policy.ServiceAddress]bool{}}
	for at, s := range view.Services() {
		if !slices.Contains(r.ips, at.IP) || at.Port != dnsPort {
			continue
		}
		r.serves[at] = len(s.Port.Backends) > 0
		for _, b := range s.Port.Backends {
			switch p := view.Pod(b.IP); {
			case p == nil:
				if end := netip.AddrPortFrom(b.IP, b.Port); !slices.Contains(r.hosts, end) {
					r.hosts = append(r.hosts, end)
				}
				continue
			case !slices.Contains(r.pods, p):
				r.pods = append(r.pods, p)
			}
			if !slices.Contains(r.ports, b.Port) {
				r.ports = append(r.ports, b.Port)
			}
		}
	}
	slices.SortFunc(r.pods, func(a, b *identity.Pod) int { return compareText(a.Key(), b.Key()) })
	slices.SortFunc(r.hosts, netip.AddrPort.Compare)
	slices.Sort(r.ports)
	for _, p := range view.World.Pods {
		if p.HostNetwork && !p.Done && (p.Labels["k8s-app"] == "node-local-dns" || p.Workload == "ds/node-local-dns" || p.Workload == "ds/nodelocaldns") {
			r.local = true
		}
	}
	for _, s := range m.in.Log.Seen() {
		if s.Destination.IP == localDNS && s.Destination.Port == dnsPort {
			r.local = true
		}
	}
	return r
}

// known says whether the cluster has a DNS that a rule can name.
func (r *resolver) known() bool { return len(r.pods) > 0 || len(r.hosts) > 0 || r.local }

// asked says whether a flow is a question to it.
func (r *resolver) asked(s *traffic.Seen) bool {
	if s.Direction != flow.Egress || s.Protocol != flow.UDP && s.Protocol != flow.TCP {
		return false
	}
	d := s.Destination
	switch {
	case r.local && (d.IP == localDNS || slices.Contains(r.ips, d.IP)):
		return d.Port == dnsPort
	case r.serves[policy.ServiceAddress{IP: d.IP, Protocol: s.Protocol, Port: d.Port}]:
		return true
	case slices.Contains(r.hosts, netip.AddrPortFrom(d.IP, d.Port)):
		return true
	}
	return slices.Contains(r.ports, d.Port) && slices.ContainsFunc(r.pods, func(p *identity.Pod) bool { return slices.Contains(p.IPs, d.IP) })
}

// dnsRules let the subject ask names. DNS is both UDP and TCP: an answer that
// is too long for a datagram is asked for again.
func (m *maker) dnsRules(sub *subject) []*Rule {
	r := m.dns
	const why = "names: both protocols, since a long answer is asked for again over TCP"
	note := why
	if sub.dns.Flows == 0 {
		note = "names were not asked for while this was watched; a program that uses names needs it, take it out if this one doesn't"
	}
	var out []*Rule
	if len(r.pods) > 0 {
		rule := &Rule{Direction: flow.Egress, Note: note}
		for _, p := range r.pods {
			c := m.choose(p)
			peer := &Peer{Namespace: p.Namespace, Same: p.Namespace == sub.policy.Namespace, Labels: c.labels, Names: []string{p.Workload}, Seen: sub.dns}
			if !slices.ContainsFunc(rule.Peers, func(o *Peer) bool { return o.id() == peer.id() }) {
				rule.Peers = append(rule.Peers, peer)
			}
		}
		for _, n := range r.ports {
			rule.Ports = append(rule.Ports, bothProtocols(n)...)
		}
		out = append(out, rule)
	}
	rule := &Rule{Direction: flow.Egress, Note: note}
	var ports []uint16
	add := func(ip netip.Addr, name string, port uint16) {
		rule.Peers = append(rule.Peers, &Peer{CIDR: netip.PrefixFrom(ip, ip.BitLen()), Names: []string{name}})
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	if r.local {
		add(localDNS, "NodeLocal DNSCache", dnsPort)
	}
	if r.local || len(r.hosts) > 0 {
		// Questions to the cluster IP are answered on the node as well, or by
		// what is no pod.
		for _, ip := range r.ips {
			add(ip, "the cluster's DNS", dnsPort)
		}
	}
	for _, h := range r.hosts {
		add(h.Addr(), "a server of the cluster's DNS", h.Port())
	}
	if len(rule.Peers) > 0 {
		for _, n := range ports {
			rule.Ports = append(rule.Ports, bothProtocols(n)...)
		}
		out = append(out, rule)
	}
	return out
}

func bothProtocols(n uint16) []*Port {
	return []*Port{{Protocol: flow.UDP, Number: n}, {Protocol: flow.TCP, Number: n}}
}
