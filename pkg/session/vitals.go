// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// safe says whether enforcement with these modes leaves alone what a cluster
// lives by: kube-system, the cluster's DNS, the API server.
func (l *Live) safe(modes map[PolicyKey]Mode) error {
	rules, w, err := l.imagine(modes)
	if err != nil {
		return err
	}
	v := vitalsOf(w)
	bad := &UnsafeError{}
	seen := map[string]bool{}
	reason := func(text string) {
		if !seen[text] && len(bad.Reasons) < 10 {
			seen[text] = true
			bad.Reasons = append(bad.Reasons, text)
		}
	}
	for _, c := range l.flows.cuts(rules) {
		if what := v.touched(c.Tuple); what != "" {
			bad.Cuts = append(bad.Cuts, c)
			reason(fmt.Sprintf("the live connection %s, %s", c.Tuple, what))
		}
	}
	for _, pod := range v.withoutDNS(rules, w) {
		reason(fmt.Sprintf("pod %s could not ask the cluster's DNS any more", pod))
	}
	if len(bad.Reasons) == 0 {
		return nil
	}
	return bad
}

// vitals are the addresses that must not be cut off by accident.
type vitals struct {
	system map[netip.Addr]string // pods of kube-system
	dns    map[netip.Addr]bool
	api    map[netip.AddrPort]bool
}

func vitalsOf(w *identity.World) *vitals {
	v := &vitals{system: map[netip.Addr]string{}, dns: map[netip.Addr]bool{}, api: map[netip.AddrPort]bool{}}
	for _, p := range w.Pods {
		if p.Namespace == "kube-system" && !p.Done && !p.HostNetwork {
			for _, ip := range p.IPs {
				v.system[ip.Unmap()] = p.Key()
			}
		}
	}
	for _, ip := range w.ClusterDNS {
		v.dns[ip.Unmap()] = true
	}
	for _, s := range w.Services {
		dns := slices.ContainsFunc(s.IPs, func(ip netip.Addr) bool { return v.dns[ip.Unmap()] })
		api := s.Namespace == "default" && s.Name == "kubernetes"
		for _, p := range s.Ports {
			for _, ip := range s.IPs {
				if api {
					v.api[netip.AddrPortFrom(ip.Unmap(), p.Port)] = true
				}
			}
			for _, b := range p.Backends {
				if api {
					v.api[netip.AddrPortFrom(b.IP.Unmap(), b.Port)] = true
				}
				if dns {
					v.dns[b.IP.Unmap()] = true
				}
			}
		}
	}
	return v
}

// touched says what a connection is vital for; "" if it isn't.
func (v *vitals) touched(t flow.Tuple) string {
	switch {
	case v.dns[t.Destination.Addr()] && t.Destination.Port() == 53:
		return "a question to the cluster's DNS"
	case v.api[t.Destination]:
		return "a way to the API server"
	}
	for _, a := range []netip.Addr{t.Source.Addr(), t.Destination.Addr()} {
		if pod, ok := v.system[a]; ok {
			return "which belongs to " + pod
		}
	}
	return ""
}

// withoutDNS lists up to three pods that may ask the cluster's DNS now and
// could not under enforcement, whether or not they have asked yet.
func (v *vitals) withoutDNS(rules map[string]*ruleset.Pages, w *identity.World) (pods []string) {
	names := map[netip.Addr]string{}
	for _, p := range w.Pods {
		if !p.Done && !p.HostNetwork {
			for _, ip := range p.IPs {
				names[ip.Unmap()] = p.Key()
			}
		}
	}
	found := map[string]bool{}
	for _, r := range rules {
		table := r.Table()
		for e := range r.Endpoints.All() {
			for _, dns := range w.ClusterDNS {
				if dns.Unmap().Is4() != e.IP.Is4() {
					continue
				}
				res := table.Judge(ruleset.Packet{Direction: flow.Egress, Protocol: flow.UDP, Local: e.IP, Peer: dns.Unmap(), Port: 53})
				if res.Drop && res.Current.Verdict != flow.Deny {
					found[names[e.IP]] = true
				}
			}
		}
	}
	pods = slices.Sorted(maps.Keys(found))
	return pods[:min(len(pods), 3)]
}
