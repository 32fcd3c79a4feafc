// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Explanation is one question's answer with all that led to it.
type Explanation struct {
	Packet  policy.Packet
	Result  *policy.Result
	Egress  Side
	Ingress Side
}

// Side explains one end.
type Side struct {
	*policy.End
	Misses []policy.Miss // of the rules of the isolating policies, nearest first
	Patch  *Patch        // that would allow it here; nil: it is allowed, or no NetworkPolicy could
}

// Patch is the least change of one policy that allows a packet at one end: a
// rule for that peer and port alone. It has been tried on the evaluator.
type Patch struct {
	Policy *policy.Policy
	YAML   string // a JSON patch (RFC 6902) in YAML, for kubectl patch --type=json
}

// Explain answers with reasons, by the reference.
func (b *Batch) Explain(p policy.Packet) *Explanation { return b.explain(p, nil) }

// ExplainPart does so for a part; what would allow it is for all of the part.
func (b *Batch) ExplainPart(part *Part) *Explanation {
	blocks := map[netip.Addr]netip.Prefix{}
	for _, text := range []string{part.From, part.To} {
		if block, err := netip.ParsePrefix(text); err == nil {
			blocks[block.Addr()] = block
		}
	}
	return b.explain(part.Packet, blocks)
}

// explain answers; blocks are what addresses stand for, if it is more.
func (b *Batch) explain(p policy.Packet, blocks map[netip.Addr]netip.Prefix) *Explanation {
	x := &Explanation{Packet: p, Result: b.reference.Evaluate(p)}
	x.Egress = b.side(p, &x.Result.Egress, blocks)
	x.Ingress = b.side(p, &x.Result.Ingress, blocks)
	return x
}

func (b *Batch) side(p policy.Packet, end *policy.End, blocks map[netip.Addr]netip.Prefix) Side {
	s := Side{End: end, Misses: b.reference.Misses(p, end)}
	if end.Verdict == flow.Deny && len(end.Decision.IsolatedBy) > 0 && p.Protocol.HasPorts() {
		s.Patch = b.patch(p, end, s.Misses, blocks)
	}
	return s
}

// patch adds a rule to the policy that came nearest, or to the first that
// isolates if none has rules.
func (b *Batch) patch(p policy.Packet, end *policy.End, misses []policy.Miss, blocks map[netip.Addr]netip.Prefix) *Patch {
	target := end.Decision.IsolatedBy[0]
	if len(misses) > 0 {
		target = misses[0].Policy
	}
	peerIP, port := p.Source, p.Port
	if end.Direction == flow.Egress {
		peerIP = p.Destination
	}
	if _, backends, ok := b.view.Service(policy.ServiceAddress{IP: p.Destination, Protocol: p.Protocol, Port: p.Port}, ""); ok {
		port = backends[0].Port
		if end.Direction == flow.Egress {
			peerIP = backends[0].IP
		}
	}
	peer, written := b.peerFor(target, peerIP, blocks)
	rule := policy.Rule{
		Index: len(target.Rules(end.Direction)), Action: policy.Accept, Peers: []policy.Peer{peer},
		Ports: []policy.Port{{Protocol: p.Protocol, From: port, To: port}},
	}
	if !b.works(p, end.Direction, target, rule) {
		return nil
	}
	list, field := "ingress", "from"
	if end.Direction == flow.Egress {
		list, field = "egress", "to"
	}
	value := any(map[string]any{field: []any{written}, "ports": []any{map[string]any{"protocol": p.Protocol.String(), "port": port}}})
	path := "/spec/" + list + "/-"
	if len(target.Rules(end.Direction)) == 0 {
		path, value = "/spec/"+list, []any{value}
	}
	text, err := yaml.Marshal([]any{map[string]any{"op": "add", "path": path, "value": value}})
	if err != nil {
		return nil
	}
	return &Patch{Policy: target, YAML: string(text)}
}

// passing are labels that change with each rollout or pod: a rule on them
// would allow today's pods and no others.
var passing = map[string]bool{
	"pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true, "statefulset.kubernetes.io/pod-name": true,
	"apps.kubernetes.io/pod-index": true, "batch.kubernetes.io/controller-uid": true, "controller-uid": true, "batch.kubernetes.io/job-name": true,
	"job-name": true, "rollouts-pod-template-hash": true, "batch.kubernetes.io/job-completion-index": true,
}

// peerFor is a peer for who has the address, as the model and as YAML know it.
func (b *Batch) peerFor(p *policy.Policy, ip netip.Addr, blocks map[netip.Addr]netip.Prefix) (policy.Peer, map[string]any) {
	pod := b.view.Pod(ip)
	if pod == nil {
		prefix, many := blocks[ip]
		if !many {
			prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		return policy.Peer{Kind: policy.CIDRPeer, CIDR: prefix}, map[string]any{"ipBlock": map[string]any{"cidr": prefix.String()}}
	}
	labels := map[string]string{}
	for k, v := range pod.Labels {
		if !passing[k] {
			labels[k] = v
		}
	}
	peer := policy.Peer{Kind: policy.PodPeer, Namespace: pod.Namespace, Pods: policy.Equal(labels)}
	written := map[string]any{"podSelector": matchLabels(labels)}
	if pod.Namespace != p.Namespace {
		name := map[string]string{"kubernetes.io/metadata.name": pod.Namespace}
		peer.Namespace, peer.Namespaces = "", policy.Equal(name)
		written["namespaceSelector"] = matchLabels(name)
	}
	return peer, written
}

func matchLabels(l map[string]string) map[string]any {
	if len(l) == 0 {
		return map[string]any{}
	}
	return map[string]any{"matchLabels": l}
}

// works tries the policy with one rule more.
func (b *Batch) works(p policy.Packet, d flow.Direction, target *policy.Policy, rule policy.Rule) bool {
	changed := *target
	if d == flow.Egress {
		changed.Egress = append(changed.Egress[:len(changed.Egress):len(changed.Egress)], rule)
	} else {
		changed.Ingress = append(changed.Ingress[:len(changed.Ingress):len(changed.Ingress)], rule)
	}
	list := make([]*policy.Policy, len(b.policies))
	for i, old := range b.policies {
		list[i] = old
		if old == target {
			list[i] = &changed
		}
	}
	r := policy.NewEvaluatorOf(b.view, list).Evaluate(p)
	if d == flow.Egress {
		return r.Egress.Verdict == flow.Allow
	}
	return r.Ingress.Verdict == flow.Allow
}

// Quote is the rule as it was written, with line numbers; "" if it isn't known.
func Quote(p *policy.Policy, r *policy.Rule) string {
	if p == nil || r == nil || r.Line == 0 || p.Source.YAML == "" {
		return ""
	}
	all := strings.Split(p.Source.YAML, "\n")
	from := r.Line - p.Source.Line
	if from < 0 || from >= len(all) {
		return ""
	}
	depth := indent(all[from])
	var b strings.Builder
	for i := from; i < len(all) && i < from+20; i++ {
		text := strings.TrimRight(all[i], " \t\r")
		if i > from && (text == "" || indent(text) <= depth) {
			break
		}
		fmt.Fprintf(&b, "%6d  %s\n", p.Source.Line+i, text)
	}
	return b.String()
}

func indent(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// Name is what to call an address.
func (b *Batch) Name(ip netip.Addr, port uint16, protocol flow.Protocol) string {
	name := ip.String()
	if port != 0 {
		name = netip.AddrPortFrom(ip, port).String()
	}
	if pod := b.view.Pod(ip); pod != nil {
		if pod.NoIP {
			name = "no IP yet"
			if port != 0 {
				name += fmt.Sprintf(", port %d", port)
			}
		}
		return fmt.Sprintf("%s (%s%s)", pod.Key(), name, labelsOf(pod))
	}
	if s, _, ok := b.view.Service(policy.ServiceAddress{IP: ip, Protocol: protocol, Port: port}, ""); ok {
		return fmt.Sprintf("svc/%s (%s)", s.Service.Key(), name)
	}
	if n := b.view.Node(ip); n != nil {
		return fmt.Sprintf("node/%s (%s)", n.Name, name)
	}
	return name
}

func labelsOf(p *identity.Pod) string {
	if p.Workload != "" && !strings.HasPrefix(p.Workload, "pod/") {
		return ", " + p.Workload
	}
	return ""
}
