// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"time"
)

// EventType is the "type" of one line of output.
type EventType string

// The documented types. Others may be added; a reader skips what it doesn't know.
const (
	FlowEvent    EventType = "flow"    // first packet of a connection, or the connection found open when the session began
	VerdictEvent EventType = "verdict" // the verdict of a known connection changed
	DropEvent    EventType = "drop"    // the kernel, or our own enforcement, dropped a packet
	CloseEvent   EventType = "close"   // the connection ended or went idle; counters are final
	LossEvent    EventType = "loss"    // samples were lost or thinned; counters stay exact
	GapEvent     EventType = "gap"     // the stream was cut; what happened meanwhile is known by counters only
	OutcomeEvent EventType = "outcome" // what became of a known connection is known, or known better
	DNSEvent     EventType = "dns"     // an answer that a subject got, or a question without one
	HopEvent     EventType = "hop"     // a netfilter rule that a packet met on its way
	PolicyEvent  EventType = "policy"  // a policy came, went, changed its text or its mode; in the timeline only
	PodEvent     EventType = "pod"     // a pod came, became ready or ceased to be, or ended; in the timeline only
	LeaseEvent   EventType = "lease"   // enforcement began or ended on a node; in the timeline only

	IsolationEvent EventType = "isolation" // at the end: how long policies took to be enforced; fields of its own, see below
)

// Peer is one end of a flow with all that is known of it. Absent (zero)
// means not known; nothing is invented.
type Peer struct {
	Namespace string     `json:"namespace,omitempty"` // of the pod
	Pod       string     `json:"pod,omitempty"`       // the pod that had the address at that time
	Workload  string     `json:"workload,omitempty"`  // kind/name, such as deploy/web; of the topmost known owner
	IP        netip.Addr `json:"ip,omitzero"`         // never 4-in-6
	Port      uint16     `json:"port,omitempty"`      // host order; 0 where the protocol has none
	Service   string     `json:"service,omitempty"`   // namespace/name, if the address is that of a service
	Node      string     `json:"node,omitempty"`      // the node that the pod is on, or that the address belongs to
	Name      string     `json:"name,omitempty"`      // what to call it if it is neither pod nor service: a node, a DNS name
}

// Label is what the end is summed up under, wherever the same is to count as
// one: its workload if it is known, else its pod, its service, its name, or in
// the end its address.
func (p *Peer) Label() string {
	if label := p.Owner(); label != "" {
		return label
	}
	return p.IP.String()
}

// Owner is Label without the address: empty if nobody is known to have it.
func (p *Peer) Owner() string {
	switch {
	case p.Workload != "":
		return p.Namespace + "/" + p.Workload
	case p.Pod != "":
		return p.Namespace + "/" + p.Pod
	case p.Service != "":
		return p.Service
	}
	return p.Name
}

// RuleKind says which API a rule comes from, in kubectl's spelling.
type RuleKind string

// The kinds that are evaluated.
const (
	NetworkPolicy        RuleKind = "NetworkPolicy"
	ClusterNetworkPolicy RuleKind = "ClusterNetworkPolicy"
	AdminNetworkPolicy   RuleKind = "AdminNetworkPolicy"
	BaselineAdminNetwork RuleKind = "BaselineAdminNetworkPolicy"
)

// Rule names the entry of a policy that decided.
type Rule struct {
	Kind      RuleKind `json:"kind"`                // the policy's, in kubectl's spelling
	Namespace string   `json:"namespace,omitempty"` // empty for cluster-scoped kinds
	Name      string   `json:"name"`                // the policy's
	Index     *int     `json:"index,omitempty"`     // from 0, in the policy's list for the event's direction; nil: the policy as a whole (it isolates)
}

// String is kind-less and short: "shop/db-allow rule 2", or "shop/db-allow".
func (r Rule) String() string {
	s := r.Name
	if r.Namespace != "" {
		s = r.Namespace + "/" + s
	}
	if r.Index != nil {
		s += " rule " + itoa(*r.Index)
	}
	return s
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

// Event is one line of output, joined with names. It is what `-o json`
// prints; README documents the schema, which only ever grows.
type Event struct {
	Type      EventType `json:"type"`               // what happened
	Time      time.Time `json:"time"`               // RFC 3339 with nanoseconds, UTC
	Node      string    `json:"node,omitempty"`     // whose probe saw it
	Direction Direction `json:"direction,omitzero"` // seen from the subject: the end that is judged
	Subject   string    `json:"subject,omitempty"`  // "source" or "destination"
	Protocol  Protocol  `json:"protocol,omitzero"`  // of the packets

	Source      *Peer `json:"source,omitempty"`      // the end that opened the connection; of a drop: the packet's
	Destination *Peer `json:"destination,omitempty"` // the other end, as the packet named it
	Backend     *Peer `json:"backend,omitempty"`     // of a service: who really answers, once known

	Verdict   Verdict `json:"verdict,omitzero"`   // of the policies that the cluster has
	Candidate Verdict `json:"candidate,omitzero"` // absent if no candidate is set
	Enforced  bool    `json:"enforced,omitempty"` // our lease dropped it
	// Found in mid-stream: who opened it is a guess, and so is the direction; it
	// counts as denied only if it would be whoever did. Absent: seen from its first packet, or told by the kernel.
	OpenerUnknown bool `json:"openerUnknown,omitempty"`

	Rule                *Rule  `json:"rule,omitempty"`                // the rule that decided; absent: no policy isolates, or the default deny; of a policy event: the policy
	CandidateRule       *Rule  `json:"candidateRule,omitempty"`       // likewise, of the candidate set
	IsolatedBy          []Rule `json:"isolatedBy,omitempty"`          // set if the verdict is the default deny
	CandidateIsolatedBy []Rule `json:"candidateIsolatedBy,omitempty"` // likewise, of the candidate set

	Reason   string   `json:"reason,omitempty"`   // drop reason, or why a loss or gap; contested: the case
	Location string   `json:"location,omitempty"` // kernel symbol+offset that freed the packet
	Stack    []string `json:"stack,omitempty"`    // callers of Location, nearest first
	Device   string   `json:"device,omitempty"`   // network interface where it was dropped

	Observed  Outcome   `json:"observed,omitempty"`  // what became of it
	Agreement Agreement `json:"agreement,omitempty"` // Verdict against Observed
	Culprit   string    `json:"culprit,omitempty"`   // who dropped it, in words
	NftRule   *NftRule  `json:"nftRule,omitempty"`   // the very rule, where netfilter dropped it and the packet was traced; of a hop: the rule met
	Programs  []string  `json:"programs,omitempty"`  // BPF programs on the hook that dropped it
	Owner     *Owner    `json:"owner,omitempty"`     // the process at the subject's end
	Request   *Request  `json:"request,omitempty"`   // what the source asked for first
	Answer    *Answer   `json:"answer,omitempty"`    // of a dns event
	// Seconds from the connection's first packet: to the first one back, and
	// to the first payload from the destination. Absent: none yet.
	AnswerSeconds    float64 `json:"answerSeconds,omitempty"`
	FirstByteSeconds float64 `json:"firstByteSeconds,omitempty"`
	Retransmits      uint32  `json:"retransmits,omitempty"` // of the subject's TCP

	Benign bool `json:"benign,omitempty"` // drop: not a fault but part of ordinary life; printed only if asked for

	Packets uint64 `json:"packets,omitempty"` // both directions, exact, since the connection was first seen
	Bytes   uint64 `json:"bytes,omitempty"`   // likewise; IP header and all, without the link header

	Lost uint64 `json:"lost,omitempty"` // loss and gap: how many samples; 0: not known
	Note string `json:"note,omitempty"` // a sentence for people
}

// Ported is the event with no port where the protocol has none: the number of an
// echo stands there, by which one ping is told from another, and nothing else.
func (e *Event) Ported() *Event {
	if e.Protocol.HasPorts() || (e.Source == nil || e.Source.Port == 0) && (e.Destination == nil || e.Destination.Port == 0) {
		return e
	}
	out := *e
	for _, end := range []**Peer{&out.Source, &out.Destination, &out.Backend} {
		if *end != nil {
			p := **end
			p.Port = 0
			*end = &p
		}
	}
	return &out
}

// WouldChange says whether the candidate set decides otherwise than the current one.
func (e *Event) WouldChange() bool {
	return e.Candidate != NotJudged && e.Verdict != NotJudged && e.Candidate != e.Verdict
}
