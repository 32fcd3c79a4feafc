// SPDX-License-Identifier: Apache-2.0

package flow

import "net/netip"

// Outcome is what became of a connection, as far as its packets tell.
type Outcome string

// The outcomes. Empty means not known yet, or not observable for the protocol.
const (
	Answered       Outcome = "answered"       // the other end sent something back that isn't a refusal
	Unanswered     Outcome = "unanswered"     // delivered at the far pod, which didn't answer
	Reset          Outcome = "reset"          // an established connection was reset by the application at either end
	Refused        Outcome = "refused"        // nobody listens: a reset, or port unreachable, answered the first packet
	NotArrived     Outcome = "not arrived"    // left the pod and never came to the far pod, whose node is watched
	Dropped        Outcome = "dropped"        // the kernel, or our lease, dropped it: Reason says why
	Rejected       Outcome = "rejected"       // an ICMP error came back: Reason says which, from whom
	HalfOpen       Outcome = "half open"      // SYN answered, handshake never completed
	Retransmitting Outcome = "retransmitting" // its sender repeats itself and gets no answer
)

// Agreement compares what the cluster's policies say with what happened.
type Agreement string

// The agreements. Empty means that there is nothing to compare yet.
const (
	Agrees              Agreement = "agrees"
	DeniedButDelivered  Agreement = "denied by policy but delivered"  // the CNI doesn't enforce, or not yet
	AllowedButDropped   Agreement = "allowed by policy but dropped"   // Culprit says by whom
	ContestedButSettled Agreement = "contested; the packet shows how" // Reason names the case
)

// Owner is the process at the subject's end of a connection.
type Owner struct {
	PID        uint32 `json:"pid"`                  // in the node's process namespace
	Command    string `json:"command,omitempty"`    // the kernel's comm: at most 15 bytes
	Executable string `json:"executable,omitempty"` // path inside the container
	Container  string `json:"container,omitempty"`  // its name, or its id where the name isn't known
}

// Request is the head of the first request on a connection, in plain text on
// the wire. Nothing else of the payload is ever kept.
type Request struct {
	Kind   string `json:"kind"`             // "tls", "http", "grpc"
	Host   string `json:"host,omitempty"`   // SNI, Host or :authority
	Method string `json:"method,omitempty"` // of HTTP
	Path   string `json:"path,omitempty"`   // without the query
}

// Answer is a DNS answer, or a question that got none.
type Answer struct {
	Question   string       `json:"question"`             // without the last dot
	Type       string       `json:"type"`                 // "A", "AAAA", ...
	Code       string       `json:"code,omitempty"`       // "NOERROR", "NXDOMAIN", ...
	IPs        []netip.Addr `json:"ips,omitempty"`        // of A and AAAA answers
	Unanswered bool         `json:"unanswered,omitempty"` // nothing came within 5 s
}

// Isolation is how long it took until policies were enforced, as far as
// traffic showed it: a change without a denied attempt soon after it says
// nothing and isn't counted.
type Isolation struct {
	Type   EventType `json:"type"`   // "isolation"
	Node   string    `json:"node"`   // where the judged pod is
	After  string    `json:"after"`  // "policy": since its text came into effect; "ready": since a pod became ready
	Count  int       `json:"count"`  // changes that could be measured
	Missed int       `json:"missed"` // changes after which only wrong outcomes were seen, so far
	// From the change to the first right outcome; each is at most a second too long. 0: none measured.
	P50Seconds float64 `json:"p50Seconds"`
	P99Seconds float64 `json:"p99Seconds"`
}

// NftRule is a rule of the node's nftables, or of iptables-nft.
type NftRule struct {
	Family   string `json:"family"`             // "ip", "ip6", "inet", ...
	Table    string `json:"table"`              // its table
	Chain    string `json:"chain"`              // its chain
	Handle   uint64 `json:"handle,omitempty"`   // absent: the chain's policy
	Verdict  string `json:"verdict,omitempty"`  // "drop", "accept", "jump CHAIN", ...
	Comment  string `json:"comment,omitempty"`  // as its author left it
	Text     string `json:"text,omitempty"`     // in nft's words, as far as they can be read
	Inferred bool   `json:"inferred,omitempty"` // no trace told of it: it is the only one in the ruleset that can have dropped the packet
	Engine   string `json:"engine,omitempty"`   // who made it: "kube-proxy", "Calico", ...; absent: not recognised
}

// Ordinary says whether an outcome is what everyone expects: answered, and
// nothing that the policies say speaks against it.
func (e *Event) Ordinary() bool {
	return e.Type == OutcomeEvent && e.Observed == Answered && (e.Agreement == "" || e.Agreement == Agrees)
}
