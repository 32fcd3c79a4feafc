// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Case is the number of a contested case, as the project's table of cases
// counts them.
type Case int

// The contested cases that a packet's verdict can turn on.
const (
	CaseBlockCoversPods Case = 11 // does an ipBlock cover the addresses of pods
	CaseTranslation     Case = 12 // is a service's address judged before or after its translation, and which backend is it
	CaseHairpin         Case = 22 // is a pod that reaches itself through a service subject to policy
	CaseHostSubject     Case = 25 // do policies cover pods on the host network
	CaseHostPeer        Case = 26 // do selectors match pods on the host network as peers
	CaseMasquerade      Case = 27 // which source does a pod see behind a node port or load balancer
	CaseOtherProtocols  Case = 36 // does isolation reach beyond TCP, UDP and SCTP
	CasePriority        Case = 37 // which policy of equal priority goes first
)

// reading settles every open question in one way. The zero value is the
// reading that asks the question in the specification's own words, as far as
// it has any.
type reading struct {
	blocksSkipPods  bool // case 11
	untranslated    bool // case 12: blocks and nodes are compared with the service's address
	hairpinExempt   bool // case 22
	hostCovered     bool // case 25
	hostPeersHidden bool // case 26
	othersExempt    bool // case 36
	strangersHidden bool // CaseUnseen
	blocksWillCover bool // CaseNoIP

	backend *identity.Backend // case 12: who answers; nil: no service
	source  netip.Addr        // case 27: what the destination sees; invalid: the source itself
}

// question is one open case with its answers.
type question struct {
	id      Case
	answers []answer
	// settled: enforcement takes the first answer, whether it allows or not.
	settled bool
}

type answer struct {
	text  string
	apply func(*reading)
}

func yesNo(id Case, no, yes string, set func(*reading)) question {
	return question{id: id, answers: []answer{{no, func(*reading) {}}, {yes, set}}}
}

// translation asks whether a block is compared with the backend's address or
// the service's own. The API's text leaves it open, so that the verdict is
// contested; but its end-to-end tests reach a pod by its service and expect an
// egress block, and its except, to mean the pod. They are the nearest to a
// text that there is, so enforcement takes the backend's address: a service
// must not open what a block that excepts its backend has closed.
func translation() question {
	q := yesNo(CaseTranslation, "address blocks are compared with the backend's address", "address blocks are compared with the service's address",
		func(r *reading) { r.untranslated = true })
	q.settled = true
	return q
}

// questions lists the cases that can matter for a packet.
func (e *Evaluator) questions(p *Packet, x *ends) []question {
	var qs []question
	if len(x.backends) > 0 {
		q := question{id: CaseTranslation}
		for i := range x.backends {
			b := &x.backends[i]
			q.answers = append(q.answers, answer{"the service sends it to " + e.nameOf(b.IP, b.Port), func(r *reading) { r.backend = b }})
		}
		qs = append(qs, q, translation())
		if x.hairpin {
			qs = append(qs, yesNo(CaseHairpin, "a pod that reaches itself through a service is subject to policy", "a pod always reaches itself",
				func(r *reading) { r.hairpinExempt = true }))
		}
		if len(x.masquerades) > 0 {
			q := question{id: CaseMasquerade, answers: []answer{{"the source address is kept", func(*reading) {}}}}
			for _, ip := range x.masquerades {
				q.answers = append(q.answers, answer{"the source becomes " + e.nameOf(ip, 0), func(r *reading) { r.source = ip }})
			}
			qs = append(qs, q)
		}
	}
	if x.podPeer {
		qs = append(qs, yesNo(CaseBlockCoversPods, "an ipBlock covers pods as well", "an ipBlock covers no pods", func(r *reading) { r.blocksSkipPods = true }))
	}
	if x.nodePeer {
		qs = append(qs, yesNo(CaseHostPeer, "selectors match pods on the host network", "selectors don't match pods on the host network",
			func(r *reading) { r.hostPeersHidden = true }))
	}
	if x.unseen {
		qs = append(qs, yesNo(CaseUnseen, "the address is that of a pod which your rights don't show and the rules select", "the rules select nobody who has the address",
			func(r *reading) { r.strangersHidden = true }))
	}
	if x.noIP != "" {
		qs = append(qs, yesNo(CaseNoIP, x.noIP+" has no IP yet, and address blocks won't cover the one that it gets", x.noIP+" has no IP yet, and address blocks will cover the one that it gets",
			func(r *reading) { r.blocksWillCover = true }))
	}
	if x.hostSubject {
		qs = append(qs, yesNo(CaseHostSubject, "policies don't cover pods on the host network", "policies cover pods on the host network",
			func(r *reading) { r.hostCovered = true }))
	}
	if !p.Protocol.HasPorts() {
		qs = append(qs, yesNo(CaseOtherProtocols, "isolation covers every protocol", "isolation covers TCP, UDP and SCTP only",
			func(r *reading) { r.othersExempt = true }))
	}
	return qs
}

// ends is what is known of a packet's two ends before any question is settled.
type ends struct {
	src, dst    end
	backends    []identity.Backend
	masquerades []netip.Addr
	hairpin     bool // one of the backends is the source
	podPeer     bool // one end sees a pod as its peer
	nodePeer    bool
	hostSubject bool
	unseen      bool   // one end, or a backend, may be a pod that isn't shown
	noIP        string // the pods at the ends that have no IP yet; empty: none
}

// end is one end of a packet.
type end struct {
	ip     netip.Addr
	pod    *identity.Pod   // that has the address, or that the packet names on the host network
	node   *identity.Node  // whose address it is; nil if pod has its own
	unseen bool            // it may be a pod's of a namespace that isn't shown
	host   []*identity.Pod // the pods on the host network that may be meant
}

func (e *Evaluator) end(ip netip.Addr, hint string) end {
	x := end{ip: ip, pod: e.view.Pod(ip)}
	if x.pod != nil {
		return x
	}
	x.node = e.view.Node(ip)
	pod := e.view.World.Pods[hint]
	named := pod != nil && pod.HostNetwork && !pod.Done
	switch {
	case x.node == nil && named && slices.Contains(pod.IPs, ip):
		// Files need not hold the nodes that their pods are on.
		x.node = &identity.Node{Name: pod.Node, IPs: pod.IPs}
	case x.node == nil:
		x.unseen = e.view.Unseen(ip)
		return x
	}
	x.host = e.view.HostPods(x.node.Name)
	if named && pod.Node == x.node.Name {
		x.host = []*identity.Pod{pod}
		x.pod = pod
	}
	return x
}

// onHost says whether the end is a pod on the host network, named as such.
func (x end) onHost() bool { return x.pod != nil && x.node != nil }

// owned is the pod that has the address for itself; nil if there is none.
func (x end) owned() *identity.Pod {
	if x.node != nil {
		return nil
	}
	return x.pod
}

func (e *Evaluator) ends(p *Packet) *ends {
	x := &ends{src: e.end(p.Source, p.SourcePod), dst: e.end(p.Destination, p.DestinationPod)}
	at := ServiceAddress{p.Destination, p.Protocol, p.Port}
	if service, backends, ok := e.view.Service(at, e.nodeOf(x.src)); ok && p.DestinationPod == "" {
		x.backends = e.arriving(service, backends, p.Destination, x.src)
		x.masquerades = e.masquerades(service, x.src, p.Source)
	}
	x.podPeer = x.src.owned() != nil || x.dst.owned() != nil
	x.nodePeer = len(x.src.host) > 0 || len(x.dst.host) > 0
	x.unseen = x.src.unseen || x.dst.unseen
	x.waits(x.src)
	x.waits(x.dst)
	for _, b := range x.backends {
		dst := e.end(b.IP, "")
		x.podPeer = x.podPeer || dst.owned() != nil
		x.unseen = x.unseen || dst.unseen
		x.waits(dst)
		x.nodePeer = x.nodePeer || len(dst.host) > 0
		x.hairpin = x.hairpin || (x.src.owned() != nil && dst.owned() == x.src.pod)
	}
	for _, ip := range x.masquerades {
		x.nodePeer = x.nodePeer || len(e.end(ip, "").host) > 0
	}
	x.hostSubject = x.src.onHost() || x.dst.onHost()
	return x
}

// arriving are the backends that the node at the address has itself, if the
// service is reached there from outside under externalTrafficPolicy Local:
// that node doesn't pass the connection on, so without any nobody answers. A
// pod, and the node itself, are sent to all backends all the same; and which
// node a load balancer picked can't be known.
func (e *Evaluator) arriving(s ServiceAt, all []identity.Backend, address netip.Addr, src end) []identity.Backend {
	node := e.view.Node(address)
	if s.Cluster || !s.Service.ExternalLocal || node == nil || src.owned() != nil || src.node == node {
		return all
	}
	return s.backends(address, node.Name, true)
}

// waits notes an end that is a pod without an IP.
func (x *ends) waits(one end) {
	if pod := one.owned(); pod != nil && pod.NoIP && !strings.Contains(x.noIP, pod.Key()) {
		x.noIP = strings.TrimPrefix(x.noIP+" and "+pod.Key(), " and ")
	}
}

func (e *Evaluator) nodeOf(x end) string {
	switch {
	case x.node != nil:
		return x.node.Name
	case x.pod != nil:
		return x.pod.Node
	}
	return ""
}

// masquerades are the addresses that the destination may see instead of the
// source, if it is reached at a node port or an outside address and
// externalTrafficPolicy is Cluster: those of the nodes.
func (e *Evaluator) masquerades(s ServiceAt, src end, source netip.Addr) []netip.Addr {
	if s.Cluster || s.Service.ExternalLocal || src.node != nil {
		return nil
	}
	var out []netip.Addr
	for _, name := range e.nodeNames {
		for _, ip := range e.view.World.Nodes[name].IPs {
			if ip.Is4() == source.Is4() {
				out = append(out, ip)
				break
			}
		}
	}
	return out
}

func (e *Evaluator) nameOf(ip netip.Addr, port uint16) string {
	name := ip.String()
	if port != 0 {
		name = netip.AddrPortFrom(ip, port).String()
	}
	if pod := e.view.Pod(ip); pod != nil {
		return name + " (pod " + pod.Key() + ")"
	}
	if node := e.view.Node(ip); node != nil {
		return name + " (node " + node.Name + ")"
	}
	return name
}

// Reading is one way to settle an open case, and what it leads to.
type Reading struct {
	Case    Case         `json:"case"`
	Text    string       `json:"text"`
	Verdict flow.Verdict `json:"verdict"`
}
