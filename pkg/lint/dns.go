// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// localDNS is where NodeLocal DNSCache listens on every node by convention.
var localDNS = netip.MustParseAddr("169.254.20.10")

// dns asks whether pods that the policy isolates may ask the cluster's DNS.
func (l *linter) dns(p *policy.Policy) {
	pods, _ := l.selected(p)
	if len(l.in.World.ClusterDNS) > 0 && len(pods) > 0 {
		l.dnsByPacket(p, pods)
		return
	}
	// Without a cluster's DNS, or pods: does any rule for these pods allow
	// port 53 to anybody?
	for _, o := range l.network[p.Namespace] {
		if o.Subject.Pods.Covers(p.Subject.Pods) && slices.ContainsFunc(o.Egress, allowsDNS) {
			return
		}
	}
	if len(p.Egress) == 0 && p.Source.File == "" && len(pods) == 0 {
		return // it selects nobody, which is said elsewhere
	}
	l.dnsHole(p, "the pods that it selects", nil)
}

func allowsDNS(r policy.Rule) bool {
	if !r.AnyPeer && len(r.Peers) == 0 {
		return false
	}
	return r.AnyPort || slices.ContainsFunc(r.Ports, func(port policy.Port) bool {
		return port.Protocol == flow.UDP && port.Name == "" && port.From <= 53 && 53 <= port.To ||
			strings.HasPrefix(port.Name, "dns") || port.Name == "domain"
	})
}

func (l *linter) dnsByPacket(p *policy.Policy, pods []*identity.Pod) {
	asked := map[string]bool{} // one pod for each set of labels
	var cut []*identity.Pod
	var missing []flow.Protocol
	for _, pod := range pods {
		labels := fmt.Sprint(pod.Labels)
		if asked[labels] || len(pod.IPs) == 0 || l.servesDNS(pod) {
			continue
		}
		asked[labels] = true
		for _, protocol := range l.cutFromDNS(pod) {
			if !slices.Contains(missing, protocol) {
				missing = append(missing, protocol)
			}
			if !slices.Contains(cut, pod) {
				cut = append(cut, pod)
			}
		}
	}
	if len(cut) > 0 {
		l.dnsHole(p, some(cut, byKey), missing)
	}
}

// cutFromDNS are the protocols that a pod may not ask DNS over.
func (l *linter) cutFromDNS(pod *identity.Pod) []flow.Protocol {
	cut, known := l.mute[pod]
	if !known {
		for _, protocol := range protocolsOfDNS {
			if !l.mayAsk(pod, protocol) {
				cut = append(cut, protocol)
			}
		}
		l.mute[pod] = cut
	}
	return cut
}

// mayAsk asks the reference evaluator, for the service's address and for
// NodeLocal DNS where there is one. The pod is asked for in the family that it
// shares with the DNS.
func (l *linter) mayAsk(pod *identity.Pod, protocol flow.Protocol) bool {
	asked := slices.Clone(l.in.World.ClusterDNS)
	if l.localDNS {
		asked = append(asked, localDNS)
	}
	shared := false
	for _, dns := range asked {
		for _, ip := range pod.IPs {
			if ip.Is4() != dns.Is4() {
				continue
			}
			shared = true
			r := l.eval.Evaluate(policy.Packet{Protocol: protocol, Source: ip, Destination: dns, Port: 53})
			if r.Egress.Verdict == flow.Deny {
				return false
			}
			break
		}
	}
	return shared || len(asked) == 0
}

func (l *linter) servesDNS(pod *identity.Pod) bool {
	return slices.Contains(l.dnsPods, pod)
}

func (l *linter) findLocalDNS() bool {
	return slices.ContainsFunc(l.pods, func(p *identity.Pod) bool {
		return p.HostNetwork && (p.Labels["k8s-app"] == "node-local-dns" || p.Workload == "ds/node-local-dns" || p.Workload == "ds/nodelocaldns")
	})
}

// findDNS gives the backends of the cluster's DNS.
func (l *linter) findDNS() []*identity.Pod {
	var out []*identity.Pod
	for _, k := range sorted(l.in.World.Services) {
		s := l.in.World.Services[k]
		if !slices.ContainsFunc(s.IPs, func(ip netip.Addr) bool { return slices.Contains(l.in.World.ClusterDNS, ip) }) {
			continue
		}
		for i := range s.Ports {
			for _, b := range s.Ports[i].Backends {
				if pod := l.view.Pod(b.IP); pod != nil && !slices.Contains(out, pod) {
					out = append(out, pod)
				}
			}
		}
	}
	return out
}

func (l *linter) dnsHole(p *policy.Policy, who string, missing []flow.Protocol) {
	reason := fmt.Sprintf("%s may not ask the cluster's DNS: names won't resolve", who)
	if len(missing) == 1 {
		reason = fmt.Sprintf("%s may not ask the cluster's DNS over %s", who, missing[0])
		if missing[0] == flow.TCP {
			reason += ", which long answers need"
		}
	}
	field := "spec.egress"
	if len(p.Egress) == 0 {
		field = "spec.policyTypes"
	}
	f := l.report("dns-hole", p, field, reason, "add this rule to the policy's egress")
	f.Patch = l.dnsRule()
}

// dnsRule is a rule for this cluster's DNS: its pods by their labels, the
// ports that they really listen on, NodeLocal DNS by its addresses.
func (l *linter) dnsRule() string {
	namespace, labels, ports := "kube-system", map[string]string{"k8s-app": "kube-dns"}, []uint16{53}
	if len(l.dnsPods) > 0 {
		namespace, labels = l.dnsPods[0].Namespace, common(l.dnsPods)
		ports = l.dnsPorts()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- to:\n  - namespaceSelector:\n      matchLabels:\n        %s: %s\n    podSelector:\n", nameLabel, namespace)
	if len(labels) == 0 {
		b.WriteString("      {}\n")
	} else {
		b.WriteString("      matchLabels:\n")
		for _, k := range sorted(labels) {
			fmt.Fprintf(&b, "        %s: %s\n", k, labels[k])
		}
	}
	if l.localDNS {
		// Questions to the cluster IP are answered on the node as well, before
		// they reach a pod.
		for _, ip := range append([]netip.Addr{localDNS}, l.in.World.ClusterDNS...) {
			fmt.Fprintf(&b, "  - ipBlock:\n      cidr: %s\n", netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	b.WriteString("  ports:\n")
	for _, port := range ports {
		for _, protocol := range protocolsOfDNS {
			fmt.Fprintf(&b, "  - {protocol: %s, port: %d}\n", protocol, port)
		}
	}
	return b.String()
}

// dnsPorts are 53 and what it is translated to.
func (l *linter) dnsPorts() []uint16 {
	ports := []uint16{53}
	for _, s := range l.in.World.Services {
		if !slices.ContainsFunc(s.IPs, func(ip netip.Addr) bool { return slices.Contains(l.in.World.ClusterDNS, ip) }) {
			continue
		}
		for _, p := range s.Ports {
			for _, backend := range p.Backends {
				if p.Port == 53 && !slices.Contains(ports, backend.Port) {
					ports = append(ports, backend.Port)
				}
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// common are the labels that all pods have alike, without those that a
// rollout changes. k8s-app or app alone is enough if it is there.
func common(pods []*identity.Pod) map[string]string {
	out := map[string]string{}
	for k, v := range pods[0].Labels {
		if strings.HasSuffix(k, "pod-template-hash") || k == "controller-revision-hash" || k == "pod-template-generation" {
			continue
		}
		if !slices.ContainsFunc(pods, func(p *identity.Pod) bool { return p.Labels[k] != v }) {
			out[k] = v
		}
	}
	for _, k := range []string{"k8s-app", "app.kubernetes.io/name", "app"} {
		if v, ok := out[k]; ok {
			return map[string]string{k: v}
		}
	}
	return out
}
