// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Packet is the first packet of a connection. Replies, and ICMP errors that
// belong to a connection, share its verdict and are never asked about.
type Packet struct {
	Protocol    flow.Protocol
	Source      netip.Addr // never 4-in-6
	Destination netip.Addr // as the source addressed it: a pod's, a service's, any
	Port        uint16     // of the destination, host order; 0 for protocols without ports
	ICMPType    uint8      // valid iff HasICMPType
	HasICMPType bool

	// SourcePod and DestinationPod name (namespace/name) which pod on the host
	// network is meant, if one is: its address is its node's. Empty otherwise.
	SourcePod, DestinationPod string
}

// Result is what a set of policies says about a packet.
type Result struct {
	// Verdict needs both ends: deny if either denies, in every reading
	// (case 9). NotJudged never stands here: an end that no policy covers allows.
	Verdict  flow.Verdict
	Readings []Reading // if contested: each open case that matters, with each of its answers
	// Enforced is what enforcement takes where Verdict is contested: a service
	// is judged by its backend's address, as the API's end-to-end tests do
	// (case 12); in all else, which has no text either, the reading that allows.
	Enforced flow.Verdict

	Egress  End // judged at the source
	Ingress End // judged at the destination, or at the backend
}

// End is the answer for one direction, judged at its subject.
type End struct {
	Direction flow.Direction
	Verdict   flow.Verdict // NotJudged: no policy covers the subject; Why says why
	Why       string       // why it is not judged, or allowed before policies are asked; empty otherwise
	Subject   *identity.Pod

	// The rest speaks of the reading that enforcement takes.
	Decision Decision
	Readings []Reading // of this end alone, if contested
}

// Decision is what decided in one reading.
type Decision struct {
	Verdict    flow.Verdict // Allow or Deny
	Policy     *Policy      // nil: no rule decided
	Rule       *Rule        // of Policy
	IsolatedBy []*Policy    // set if the verdict is the default deny
}

// allows says whether the end lets the packet through; an end that nobody
// judges does.
func (d Decision) allows() bool { return d.Verdict != flow.Deny }
