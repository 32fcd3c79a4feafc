// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// ErrNothing says that no flow was seen that a policy could be made of.
var ErrNothing = errors.New("no flow was seen that a policy could be made of")

// subject is a group of pods that one policy is for.
type subject struct {
	policy *Policy
	pods   []*identity.Pod
	rules  [2]map[string]*claim // by peer: ingress, egress
	dns    Evidence
	talks  bool // opens connections to others than the DNS
}

// claim is a peer with the ports that it needs.
type claim struct {
	peer  *Peer
	ports []*Port
}

func side(d flow.Direction) int {
	if d == flow.Egress {
		return 1
	}
	return 0
}

// maker makes a proposal.
type maker struct {
	in       Input
	judge    *traffic.Judge
	now      *traffic.Set // what the cluster's policies say
	out      *Proposal
	all      map[string][]*identity.Pod // by namespace/workload
	spaces   map[string][]*identity.Pod // by namespace
	selected map[string]*choice         // by namespace/workload
	subjects map[string]*subject        // by namespace and labels
	order    []string                   // of subjects
	used     []*traffic.Seen            // that rules were made of
	denied   map[string]int
	left     map[string]int
	dns      *resolver
	opposite map[opposite][]*traffic.Seen
	betweens map[between][]*traffic.Seen
}

type choice struct {
	labels map[string]string
	also   []string
}

// From makes a proposal. The error wraps [ErrNothing] if there is nothing to
// make it of.
func From(in Input) (*Proposal, error) {
	m := &maker{
		in: in, judge: in.Log.Judge(), out: &Proposal{input: &in, Denied: []string{}, Left: []string{}, Unseen: []string{}, Notes: []string{}}, all: map[string][]*identity.Pod{}, spaces: map[string][]*identity.Pod{},
		selected: map[string]*choice{}, subjects: map[string]*subject{}, denied: map[string]int{}, left: map[string]int{}, opposite: map[opposite][]*traffic.Seen{}, betweens: map[between][]*traffic.Seen{},
	}
	known := slices.DeleteFunc(slices.Clone(in.Current), func(p *policy.Policy) bool { return in.Partly[p] })
	m.now = m.judge.With(known)
	for _, p := range in.Log.Pods() {
		if !p.HostNetwork {
			m.all[p.Namespace+"/"+p.Workload] = append(m.all[p.Namespace+"/"+p.Workload], p)
			m.spaces[p.Namespace] = append(m.spaces[p.Namespace], p)
		}
	}
	for _, list := range m.all {
		slices.SortFunc(list, func(a, b *identity.Pod) int { return strings.Compare(a.Key(), b.Key()) })
	}
	m.dns = m.findDNS()
	seen := in.Log.Seen()
	for _, s := range seen {
		m.note(s)
	}
	for _, s := range seen {
		m.take(s)
	}
	if len(m.subjects) == 0 {
		return nil, fmt.Errorf("%w%s", ErrNothing, m.whyNothing())
	}
	m.name()
	for _, key := range m.order {
		m.finish(m.subjects[key])
	}
	m.tell()
	if err := m.prove(); err != nil {
		return nil, err
	}
	return m.out, nil
}

func (m *maker) whyNothing() string {
	switch {
	case len(m.denied) > 0:
		return fmt.Sprintf(": all were denied (%s); --include-denied takes them too", traffic.Some(counted(m.denied), 3))
	case len(m.left) > 0:
		return ": " + traffic.Some(counted(m.left), 3)
	}
	return ": watch longer, or at a time when there is traffic"
}

// target says whether a policy is wanted for a pod, and can be.
func (m *maker) target(p *identity.Pod) bool {
	return p != nil && !p.HostNetwork && m.in.Target(p)
}

// pod is who had an end of a flow then.
func (m *maker) pod(e *flow.Peer) *identity.Pod {
	if e.Pod == "" {
		return nil
	}
	return m.in.Log.Pod(e.Namespace + "/" + e.Pod)
}

// take makes claims of one flow.
func (m *maker) take(s *traffic.Seen) {
	subject := m.pod(s.Subject())
	if !m.target(subject) {
		m.mirror(s)
		return
	}
	switch {
	case s.Source.IP == s.Destination.IP:
		return // no policy judges it
	case m.fromOwnNode(s, subject):
		return // kubelet: always allowed
	case !m.in.Denied && m.isDenied(s):
		m.denied[m.describe(s)] += s.Flows
		return
	case !s.Protocol.HasPorts():
		m.left[fmt.Sprintf("%s, which no NetworkPolicy can name: whether it is isolated differs among network plugins", m.describe(s))] += s.Flows
		return
	}
	m.used = append(m.used, s)
	m.out.Flows += s.Flows
	m.claims(s, subject, s)
	m.mirror(s)
}

func (m *maker) fromOwnNode(s *traffic.Seen, subject *identity.Pod) bool {
	n := m.judge.View(s).Node(s.Source.IP)
	return s.Direction == flow.Ingress && n != nil && n.Name == subject.Node
}

// claims adds what a flow of the subject needs. Evidence is the flow itself,
// or nothing if it was seen at the other end.
func (m *maker) claims(s *traffic.Seen, pod *identity.Pod, evidence *traffic.Seen) {
	sub := m.subject(pod)
	if sub == nil {
		return
	}
	if s.Direction == flow.Ingress {
		m.claim(sub, flow.Ingress, m.peerOf(s, &s.Source, pod.Namespace), m.port(sub.pods, s, s.Destination.Port), evidence)
		return
	}
	if m.dns.asked(s) {
		if evidence != nil {
			sub.dns.add(evidence)
		}
		return
	}
	sub.talks = true
	at := policy.ServiceAddress{IP: s.Destination.IP, Protocol: s.Protocol, Port: s.Destination.Port}
	service, ok := m.judge.Now().Services()[at]
	if !ok || m.judge.View(s).Pod(s.Destination.IP) != nil {
		if s.Backend != nil {
			m.claimEnd(sub, s, s.Backend, evidence)
			return
		}
		m.claimEnd(sub, s, &s.Destination, evidence)
		return
	}
	outside, known := false, s.Backend == nil
	because := evidence // told once, however many pods may answer
	for _, b := range service.Port.Backends {
		if b.IP.Is4() != s.Destination.IP.Is4() {
			continue
		}
		end := &flow.Peer{IP: b.IP, Port: b.Port, Service: service.Service.Key()}
		if p := m.judge.Now().Pod(b.IP); p != nil {
			end.Namespace, end.Pod, end.Workload = p.Namespace, p.Name, p.Workload
		} else {
			outside = true
		}
		if s.Backend != nil && (s.Backend.IP != b.IP || s.Backend.Port != b.Port) {
			m.claimEnd(sub, s, end, nil) // it may be sent there the next time
			continue
		}
		known = true
		m.claimEnd(sub, s, end, because)
		because = nil
	}
	if !known {
		m.claimEnd(sub, s, s.Backend, evidence) // it has gone since
		because = nil
	}
	if outside || len(service.Port.Backends) == 0 {
		// Plugins compare blocks with the address of the service, or with that
		// of who answers: both are allowed.
		end := s.Destination
		end.Name = "service " + service.Service.Key()
		m.claimEnd(sub, s, &end, because)
	}
}

func (m *maker) claimEnd(sub *subject, s *traffic.Seen, end *flow.Peer, evidence *traffic.Seen) {
	peer := m.peerOf(s, end, sub.policy.Namespace)
	var pods []*identity.Pod
	if p := m.pod(end); p != nil {
		pods = m.all[p.Namespace+"/"+p.Workload]
	}
	m.claim(sub, flow.Egress, peer, m.port(pods, s, end.Port), evidence)
}

func (m *maker) port(pods []*identity.Pod, s *traffic.Seen, number uint16) *Port {
	p := &Port{Protocol: s.Protocol, Number: number}
	if len(pods) > 0 {
		p.Name = portName(pods, identity.NamedPort{Protocol: s.Protocol, Number: number})
	}
	return p
}

func (m *maker) claim(sub *subject, d flow.Direction, peer *Peer, port *Port, evidence *traffic.Seen) {
	if peer == nil {
		return
	}
	rules := &sub.rules[side(d)]
	if *rules == nil {
		*rules = map[string]*claim{}
	}
	c := (*rules)[peer.id()]
	if c == nil {
		c = &claim{peer: peer}
		(*rules)[peer.id()] = c
	}
	for _, n := range peer.Names {
		if !slices.Contains(c.peer.Names, n) {
			c.peer.Names = append(c.peer.Names, n)
		}
	}
	for _, v := range peer.Via {
		if !slices.Contains(c.peer.Via, v) {
			c.peer.Via = append(c.peer.Via, v)
		}
	}
	i := slices.IndexFunc(c.ports, func(p *Port) bool { return p.compare(port) == 0 })
	if i < 0 {
		i = len(c.ports)
		c.ports = append(c.ports, port)
	}
	if evidence != nil {
		c.peer.Seen.add(evidence)
		c.ports[i].Seen.add(evidence)
	}
}

// subject finds or makes the group that a pod is of. Nil: it has no labels
// that a policy could name it by.
func (m *maker) subject(pod *identity.Pod) *subject {
	c := m.choose(pod)
	if len(c.labels) == 0 {
		m.left[fmt.Sprintf("a policy for %s/%s: its pods have no label that outlives a rollout", pod.Namespace, pod.Workload)]++
		return nil
	}
	key := pod.Namespace + "|" + labelText(c.labels)
	sub := m.subjects[key]
	if sub == nil {
		sub = &subject{policy: &Policy{Namespace: pod.Namespace, Labels: maps.Clone(c.labels)}}
		m.subjects[key] = sub
		m.order = append(m.order, key)
	}
	if !slices.Contains(sub.policy.Workloads, pod.Workload) {
		sub.policy.Workloads = append(sub.policy.Workloads, pod.Workload)
		sub.pods = append(sub.pods, m.all[pod.Namespace+"/"+pod.Workload]...)
	}
	return sub
}

func (m *maker) choose(pod *identity.Pod) *choice {
	key := pod.Namespace + "/" + pod.Workload
	c := m.selected[key]
	if c == nil {
		others := slices.DeleteFunc(slices.Clone(m.spaces[pod.Namespace]), func(p *identity.Pod) bool { return p.Workload == pod.Workload })
		c = &choice{}
		c.labels, c.also = choose(m.all[key], others)
		m.selected[key] = c
	}
	return c
}
