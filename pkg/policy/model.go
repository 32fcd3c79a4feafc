// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Tier is where a policy stands in the order of evaluation.
type Tier uint8

// The tiers, in that order.
const (
	Admin    Tier = 1 // first matching rule decides or passes
	Network  Tier = 2 // NetworkPolicy: allow rules and isolation
	Baseline Tier = 3 // first matching rule decides, if no NetworkPolicy isolates the pod there
)

func (t Tier) String() string {
	switch t {
	case Admin:
		return "Admin"
	case Network:
		return "NetworkPolicy"
	case Baseline:
		return "Baseline"
	}
	return "unknown"
}

// Action is what a matching rule does.
type Action uint8

// The actions. NetworkPolicy rules only ever accept.
const (
	Accept Action = 1
	Deny   Action = 2
	Pass   Action = 3 // leave the tier
)

func (a Action) String() string {
	switch a {
	case Accept:
		return "Accept"
	case Deny:
		return "Deny"
	case Pass:
		return "Pass"
	}
	return "unknown"
}

// Policy is one policy of any kind that is evaluated. It must not be changed
// once it is given to an evaluator or compiler.
type Policy struct {
	Kind      flow.RuleKind
	Namespace string // empty for cluster-scoped kinds
	Name      string
	Tier      Tier
	Priority  int // lower goes first within a tier; 0..1000. BaselineAdminNetworkPolicy, which has none, goes last: 1001
	Subject   Subject

	// Isolates says, for NetworkPolicy, in which directions the pods it
	// selects are isolated: policyTypes with their default. Rules of a
	// direction that it does not isolate are not there.
	IsolatesIngress bool
	IsolatesEgress  bool
	Ingress         []Rule
	Egress          []Rule

	Source   Source
	Warnings []string // what is not evaluated, or not as written; one sentence each
}

// Key names the policy for people: "shop/db-allow", or "name" if it is
// cluster-scoped.
func (p *Policy) Key() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// Ref is the policy as a whole, as output names it.
func (p *Policy) Ref() flow.Rule {
	return flow.Rule{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
}

// RuleRef names one of its rules.
func (p *Policy) RuleRef(index int) flow.Rule {
	r := p.Ref()
	r.Index = &index
	return r
}

// Rules are the rules for a direction.
func (p *Policy) Rules(d flow.Direction) []Rule {
	if d == flow.Egress {
		return p.Egress
	}
	return p.Ingress
}

// Isolates says whether pods that it selects are isolated in that direction.
func (p *Policy) Isolates(d flow.Direction) bool {
	if d == flow.Egress {
		return p.IsolatesEgress
	}
	return p.IsolatesIngress
}

// Source is where a policy was read.
type Source struct {
	File  string         // empty: not from a file
	Line  int            // of the document's first line, from 1; 0: not known
	Lines map[string]int // line of each field by its path, such as "spec.ingress[0].from[1]"; nil: not known
	YAML  string         // the document as it was written, if known; at most 64 KiB

	Changed time.Time // when the cluster got this version, to the second; zero: not known
}

// LineOf is the line of a field, or of the nearest field around it. 0: not known.
func (s Source) LineOf(path string) int {
	for path != "" {
		if n, ok := s.Lines[path]; ok {
			return n
		}
		path = parentPath(path)
	}
	return s.Line
}

// Subject says which pods a policy is for. Pods on the host network never are.
type Subject struct {
	Namespace  string   // NetworkPolicy: its own namespace; else empty
	Namespaces Selector // of namespaces, if Namespace is empty
	Pods       Selector
	None       bool // nothing is selected (a subject of a kind that isn't known)
}

// Rule is one entry of a policy's list for a direction.
type Rule struct {
	Index  int    // from 0, in the list as written
	Name   string // ClusterNetworkPolicy rules may have one
	Action Action
	Line   int // of its first line in Source.File; 0: not known

	AnyPeer bool   // no peers given: every address
	Peers   []Peer // any of them
	AnyPort bool   // no ports given: every port and every protocol
	Ports   []Port // any of them

	// Closed is set if the rule holds a peer of a kind that isn't known
	// (SEMANTICS case 38). The rule is then already what "fail closed" asks
	// for: an Accept rule without peers, or a Deny rule for everything.
	Closed bool
}

// PeerKind says what a peer matches by.
type PeerKind uint8

// The kinds of peers.
const (
	PodPeer  PeerKind = 1 // pods by labels
	CIDRPeer PeerKind = 2 // addresses
	NodePeer PeerKind = 3 // addresses of nodes, by the nodes' labels
)

// Peer is one element of a rule's from or to.
type Peer struct {
	Kind PeerKind
	Line int
	Path string // of the field, such as "spec.ingress[0].from[1]"

	// PodPeer: pods that Pods selects, in Namespace if that is set, else in
	// the namespaces that Namespaces selects.
	Namespace  string
	Namespaces Selector
	Pods       Selector

	// CIDRPeer: addresses in CIDR and in none of Except. Prefixes are masked
	// and never 4-in-6.
	CIDR   netip.Prefix
	Except []netip.Prefix
	// Internal: by the specification's text the block covers pods as well
	// (ClusterNetworkPolicy networks). NetworkPolicy's ipBlock leaves that
	// open (case 11).
	Internal bool

	Nodes Selector // NodePeer
}

// Port is one element of a rule's ports.
type Port struct {
	Protocol flow.Protocol // 0: any, valid only with Name
	Name     string        // a named port of the destination pod; empty: by number
	From, To uint16        // inclusive, host order; 0..65535: every port of the protocol
	Line     int
}

// All says whether the port stands for its whole protocol.
func (p Port) All() bool { return p.Name == "" && p.From == 0 && p.To == 65535 }
