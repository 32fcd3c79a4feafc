// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// engines recognise who made a rule, by how tables and chains are called. The
// first that fits counts: kube-router's chains begin like kube-proxy's.
var engines = []struct{ table, chain, name string }{
	{"", "KUBE-NWPLCY", "kube-router"},
	{"", "KUBE-POD-FW", "kube-router"},
	{"", "KUBE-ROUTER", "kube-router"},
	{"kube-proxy", "", "kube-proxy"},
	{"", "KUBE-", "kube-proxy"},
	{"calico", "", "Calico"},
	{"", "cali-", "Calico"},
	{"", "cali", "Calico"},
	{"cilium", "", "Cilium"},
	{"", "CILIUM_", "Cilium"},
	{"flannel", "", "Flannel"},
	{"", "FLANNEL-", "Flannel"},
	{"kube-network-policies", "", "kube-network-policies"},
	{"kindnet", "", "kindnet"},
	{"firewalld", "", "firewalld"},
	{"", "ufw-", "ufw"},
	{"", "ufw6-", "ufw"},
	{"docker", "", "Docker"},
	{"", "DOCKER", "Docker"},
	{"antrea", "", "Antrea"},
	{"", "ANTREA-", "Antrea"},
	{"", "WEAVE-", "Weave Net"},
	{"ovn-kubernetes", "", "OVN-Kubernetes"},
	{"", "OVN-KUBE-", "OVN-Kubernetes"},
	{"istio", "", "Istio"},
	{"", "ISTIO_", "Istio"},
	{"", "PROXY_INIT_", "Linkerd"},
	{"cni_hostport", "", "CNI port mappings"},
	{"", "CNI-", "CNI plugins"},
	{"", "LIBVIRT_", "libvirt"},
	{"", "IP-MASQ", "ip-masq-agent"},
	{"f2b-", "", "fail2ban"},
	{"", "f2b-", "fail2ban"},
}

// Engine says who made a rule, as far as its names tell; empty: not known.
func Engine(r *flow.NftRule) string {
	for _, e := range engines {
		if e.table != "" && strings.HasPrefix(r.Table, e.table) || e.chain != "" && strings.HasPrefix(r.Chain, e.chain) {
			return e.name
		}
	}
	if r.Verdict == "queue 100" {
		return "kube-network-policies" // its default queue
	}
	return ""
}

// programs recognise whose a BPF program is, by its name.
var programs = []struct{ prefix, name string }{
	{"cil_", "Cilium"},
	{"tail_", "Cilium"},
	{"cali_", "Calico"},
	{"calico_", "Calico"},
	{"handle_ingress", "the AWS VPC CNI's network policy agent"},
	{"handle_egress", "the AWS VPC CNI's network policy agent"},
	{"antrea", "Antrea"},
	{"netd_", "GKE's netd"},
	{"terway", "Terway"},
	{"kmesh", "Kmesh"},
}

// programOwner says whose program dropped, if all that could have is one's.
func programOwner(names []string) string {
	owner := ""
	for _, n := range names {
		for _, p := range programs {
			if strings.HasPrefix(n, p.prefix) {
				if owner != "" && owner != p.name {
					return ""
				}
				owner = p.name
			}
		}
	}
	return owner
}

// nftRule reads a rule from the wire; nil if there is none.
func nftRule(w *wire.NftRule) *flow.NftRule {
	if w == nil {
		return nil
	}
	r := &flow.NftRule{
		Family: clean(w.GetFamily()), Table: clean(w.GetTable()), Chain: clean(w.GetChain()), Handle: w.GetHandle(),
		Verdict: clean(w.GetVerdict()), Comment: clean(w.GetComment()), Text: clean(w.GetText()), Inferred: w.GetInferred(),
	}
	r.Engine = Engine(r)
	return r
}

// RuleName is a rule in words: which one, where, and what its author called it.
func RuleName(r *flow.NftRule) string {
	table := r.Family + " " + r.Table
	if _, old := legacyTool(r); old {
		table = r.Table + " of " + r.Family
	}
	s := fmt.Sprintf("rule %d of chain %s in table %s", r.Handle, r.Chain, table)
	if r.Handle == 0 {
		s = fmt.Sprintf("the policy of chain %s in table %s", r.Chain, table)
	}
	if r.Comment != "" {
		s += fmt.Sprintf(" (%q)", r.Comment)
	}
	return s
}

// legacyTool says which of the old tools made a rule, if one did.
func legacyTool(r *flow.NftRule) (tool string, old bool) {
	return r.Family, strings.HasSuffix(r.Family, "-legacy")
}

// byRule explains a drop whose very rule is known.
func (c *Cause) byRule() Explanation {
	r := c.Rule
	e := Explanation{Culprit: "netfilter rule"}
	if r.Engine != "" {
		e.Culprit += " of " + r.Engine
	}
	did := "dropped"
	switch {
	case strings.HasPrefix(r.Verdict, "queue"):
		did = "gave a program in user space the say, which dropped"
	case strings.Contains(r.Text, "reject") || strings.Contains(r.Text, "REJECT"):
		did = "rejected"
	}
	e.Sentence = strings.ToUpper(RuleName(r)[:1]) + RuleName(r)[1:] + " " + did + " it."
	if r.Inferred {
		e.Sentence += " That is inferred: the packet wasn't traced, and no other rule there can have done it."
	}
	look := fmt.Sprintf("Look at it with nft -a list chain %s %s %s on the node", r.Family, r.Table, r.Chain)
	if tool, old := legacyTool(r); old {
		look = fmt.Sprintf("Look at it with %s -t %s -vnL %s --line-numbers on the node", tool, r.Table, r.Chain)
	}
	switch r.Engine {
	case "kube-router", "Calico", "kube-network-policies", "Antrea", "OVN-Kubernetes", "Cilium", "Weave Net", "kindnet":
		look = fmt.Sprintf("%s enforces network policies: ask kubectl ebpol explain which, or %s", r.Engine, "l"+look[1:])
	}
	if strings.Contains(r.Text, "ct state") && strings.Contains(r.Text, "invalid") || strings.Contains(r.Text, "-m conntrack") && strings.Contains(strings.ToLower(r.Comment), "invalid") {
		e.Culprit += ", for connection tracking"
		look = "Connection tracking knows no connection that it fits: look for asymmetric routes, and at conntrack -S on the node"
	}
	e.Sentence += " " + look + "."
	return e
}

// byProxy explains what kube-proxy's own checks of services refuse, by the names
// that it gives them in nftables and in the comments of iptables.
func (c *Cause) byProxy() (Explanation, bool) {
	service := "The service of that node port or load balancer"
	if c.Asked != "" {
		service = "Service " + c.Asked
	}
	switch r := c.Rule; {
	case strings.Contains(r.Chain, "endpoints-check"), strings.Contains(r.Comment, "has no local endpoints"), strings.Contains(r.Comment, "has no endpoints"):
		return Explanation{
			Culprit:  "service without local endpoints",
			Sentence: service + " has no ready endpoint on this node, and kube-proxy sends to no other: its internal or external traffic policy is Local, or it has none anywhere. Look at the policies with kubectl get service -o yaml, and where its pods are ready with kubectl get endpointslices.",
		}, true
	case strings.Contains(r.Chain, "cluster-ips-check"), strings.Contains(r.Comment, "invalid ports of ClusterIPs"):
		return Explanation{
			Culprit:  "service without that port",
			Sentence: service + " has no such port or protocol, so kube-proxy refuses the connection. Look at its ports with kubectl get service.",
		}, true
	case strings.Contains(r.Chain, "firewall") || strings.HasPrefix(r.Chain, "KUBE-FW-") || strings.HasPrefix(r.Chain, "KUBE-PROXY-FIREWALL"):
		return Explanation{
			Culprit:  "source ranges of a service",
			Sentence: service + " takes no connections from that source. Look at loadBalancerSourceRanges of the service.",
		}, true
	}
	return Explanation{}, false
}

// noEndpoints explains a service that nobody stands behind.
func (c *Cause) noEndpoints() Explanation {
	return Explanation{
		Culprit:  "service without ready endpoints",
		Sentence: fmt.Sprintf("Service %s has no ready endpoint, so kube-proxy refuses the connection. Look at kubectl get endpointslices, and why its pods aren't ready.", c.Service),
	}
}

// byPrograms adds which programs it was.
func (c *Cause) byPrograms(e *Explanation) {
	if len(c.Programs) == 0 {
		return
	}
	if owner := programOwner(c.Programs); owner != "" {
		e.Culprit += " (" + owner + ")"
	}
	e.Sentence = strings.TrimSuffix(strings.TrimSuffix(e.Sentence, " "), ".") + "; there hang: " + strings.Join(c.Programs, ", ") + "."
}

// Evidence is what the probe found out beside the packet; wire.Drop.evidence.
const (
	evidenceConntrack = "conntrack-full"  // followed by how many of how many
	evidenceLegacy    = "iptables-legacy" // followed by the tables
	evidenceListen    = "listen-full"     // followed by how many of how many
	evidenceUnread    = "unread"          // followed by how many bytes
	evidenceRoute     = "route-"          // followed by blackhole, unreachable, prohibit or none
)

// byEvidence explains what the reason alone leaves open.
func (c *Cause) byEvidence() (Explanation, bool) {
	what, detail, _ := strings.Cut(c.Evidence, " ")
	switch {
	case what == evidenceConntrack:
		return Explanation{Culprit: "connection tracking, table full", Sentence: fmt.Sprintf("The node's table of connections is full (%s), so new ones are dropped. Raise net.netfilter.nf_conntrack_max, or look who opens so many with conntrack -L.", detail)}, true
	case what == evidenceListen:
		wait, room, _ := strings.Cut(detail, " of ")
		return Explanation{Culprit: "listen queue full", Sentence: fmt.Sprintf("The application doesn't accept fast enough: its listen queue is full (%s wait, its backlog is %s), so new connections stay outside. Look what it is busy with, raise its backlog (net.core.somaxconn), or add replicas.", wait, room)}, true
	case what == evidenceUnread:
		return Explanation{Culprit: "socket buffer full", Sentence: fmt.Sprintf("The application doesn't read: %s bytes wait in its socket, which takes no more. Look what it is busy with.", detail)}, true
	case what == evidenceLegacy:
		hook := c.hook()
		if hook == "" {
			hook = "some"
		}
		return Explanation{
			Culprit:  "netfilter (iptables-legacy)",
			Sentence: fmt.Sprintf("A rule of iptables-legacy (tables %s) dropped it at the %s hook; the kernel doesn't tell which one. Look at the counters of iptables-legacy-save -c on the node.", detail, hook),
		}, true
	case strings.HasPrefix(what, evidenceRoute):
		kind := strings.TrimPrefix(what, evidenceRoute)
		if kind == "none" {
			return Explanation{Culprit: "no route", Sentence: "There is no route to the destination. Look at ip route in the pod and on the node."}, true
		}
		return Explanation{Culprit: kind + " route", Sentence: fmt.Sprintf("The route to the destination is of type %s. Look at ip route show type %s and ip rule on the node, and remove it.", kind, kind)}, true
	}
	return Explanation{}, false
}

// hooks are the callers of netfilter.
var hooks = []struct{ symbol, name string }{
	{"ip_forward", "forward"},
	{"ip6_forward", "forward"},
	{"ip_local_deliver", "input"},
	{"ip6_input", "input"},
	{"ip_rcv", "prerouting"},
	{"ipv6_rcv", "prerouting"},
	{"ip_sabotage_in", "prerouting"},
	{"__ip_local_out", "output"},
	{"__ip6_local_out", "output"},
	{"ip6_xmit", "output"},
	{"ip_output", "postrouting"},
	{"ip6_output", "postrouting"},
	{"__netif_receive_skb_core", "ingress"},
	{"__dev_queue_xmit", "egress"},
}

// hook is where netfilter was called, by the stack; empty: not known.
func (c *Cause) hook() string {
	for _, f := range c.Stack {
		symbol, _, _ := strings.Cut(f, "+")
		symbol, _, _ = strings.Cut(symbol, ".") // what the compiler made of it
		for _, h := range hooks {
			if symbol == h.symbol {
				return h.name
			}
		}
	}
	return ""
}

// ends adds what the two ends of a packet say about its drop.
func (s *Store) ends(c *Cause, t flow.Tuple, source, destination *who) {
	c.DNS = t.Destination.Port() == 53
	if source.pod == "" && source.node != "" && source.node == destination.node {
		c.FromNode = source.node
	}
	if destination.service == "" {
		return
	}
	c.Asked = destination.service
	w := s.names.ledger.World()
	if w == nil {
		return
	}
	svc := w.Services[destination.service]
	if svc == nil {
		return
	}
	for _, p := range svc.Ports {
		if p.Port == t.Destination.Port() && p.Protocol == t.Protocol && !anyReady(p.Backends) {
			c.Service = destination.service
		}
	}
}

func anyReady(list []identity.Backend) bool {
	for i := range list {
		if list[i].Ready {
			return true
		}
	}
	return false
}
