// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// Input is what suggestions are made of.
type Input struct {
	Log      *traffic.Log
	Coverage *traffic.Coverage
	Current  []*policy.Policy // of the cluster
	// Partly are policies of Current whose text is not the cluster's: what they
	// say is not asked, only what was recorded of it.
	Partly map[*policy.Policy]bool
	Target func(*identity.Pod) bool // whom policies are wanted for
	Denied bool                     // also allow what current policies deny
	Join   []Join
	Source string // where the flows are from, for people
}

// Proposal is what was found.
type Proposal struct {
	Policies []*Policy `json:"-"`
	Flows    int       `json:"flows"`   // that the proposal was made of, and tried on
	Denied   []string  `json:"denied"`  // what current policies deny, and is left out
	Left     []string  `json:"left"`    // what no NetworkPolicy can say
	Unseen   []string  `json:"notSeen"` // what may go on all the same
	Notes    []string  `json:"notes"`

	input *Input
	text  string
}

// Policy is one suggested NetworkPolicy.
type Policy struct {
	Namespace string
	Name      string
	Workloads []string // "deploy/web"
	Labels    map[string]string
	Pods      int
	Ingress   []*Rule
	Egress    []*Rule
	Notes     []string // about whom it selects, and what else does
}

// Key is namespace/name.
func (p *Policy) Key() string { return p.Namespace + "/" + p.Name }

// Rule is one rule with what it is there for.
type Rule struct {
	Direction flow.Direction
	Peers     []*Peer
	Ports     []*Port
	Note      string // if it is there for more than what was seen
}

// Peer is who is allowed.
type Peer struct {
	Namespace string            // of pods; empty: a block
	Same      bool              // pods of the policy's own namespace
	Labels    map[string]string // of pods; empty: all of the namespace
	CIDR      netip.Prefix
	Names     []string // workloads, DNS names, nodes
	Via       []string // services that stand for it, as namespace/name
	Note      string
	Seen      Evidence
}

// Port is what they may reach.
type Port struct {
	Protocol flow.Protocol
	Name     string // if the pods name it
	Number   uint16
	Seen     Evidence
}

// Evidence is the flows behind a part of a rule.
type Evidence struct {
	Flows  int       `json:"flows"`
	Failed int       `json:"failed,omitempty"` // of these, without an answer
	First  time.Time `json:"first,omitzero"`
	Last   time.Time `json:"last,omitzero"`
	Pods   []string  `json:"pods,omitempty"` // peers, as namespace/name
}

func (e *Evidence) add(s *traffic.Seen) {
	e.Flows += s.Flows
	e.Failed += s.Failed
	if e.First.IsZero() || s.First.Before(e.First) {
		e.First = s.First
	}
	if s.Last.After(e.Last) {
		e.Last = s.Last
	}
	peer := s.Peer()
	if s.Direction == flow.Egress && s.Backend != nil {
		peer = s.Backend
	}
	if peer.Pod == "" {
		return
	}
	k := peer.Namespace + "/" + peer.Pod
	if i, ok := slices.BinarySearch(e.Pods, k); !ok {
		e.Pods = slices.Insert(e.Pods, i, k)
	}
}

func (e *Evidence) join(o *Evidence) {
	if o.Flows == 0 {
		return
	}
	e.Flows += o.Flows
	e.Failed += o.Failed
	if e.First.IsZero() || o.First.Before(e.First) {
		e.First = o.First
	}
	if o.Last.After(e.Last) {
		e.Last = o.Last
	}
	for _, p := range o.Pods {
		if i, ok := slices.BinarySearch(e.Pods, p); !ok {
			e.Pods = slices.Insert(e.Pods, i, p)
		}
	}
}

// id tells peers apart.
func (p *Peer) id() string {
	if p.Namespace == "" {
		return "~" + p.CIDR.String()
	}
	return p.Namespace + "|" + labelText(p.Labels)
}

func (p *Port) compare(o *Port) int {
	return cmp.Or(cmp.Compare(p.Number, o.Number), cmp.Compare(p.Protocol, o.Protocol))
}

func labelText(l map[string]string) string {
	keys := make([]string, 0, len(l))
	for k := range l {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k + "=" + l[k] + ",")
	}
	return strings.TrimSuffix(b.String(), ",")
}
