// SPDX-License-Identifier: Apache-2.0

// Package ruleset is the compiled form of policies: numbers only. The plugin
// makes it (pkg/policy/compile), the wire carries it, the probe writes it into
// BPF maps. It imports nothing of Kubernetes, so that the probe stays small.
//
// # Identifiers
//
// Set and class identifiers are never reused within a session, and what they
// stand for never changes: a set is an ordered list of rule bits, a class is
// the set of peer selectors that an address matches. A change of policies
// makes new sets and classes and moves endpoints and peers over to them. So a
// table that is half written judges nothing wrongly: [Diff] orders the
// operations so that an entry is there before anything refers to it, and goes
// only when nothing does any more. Moving one endpoint is one map write, which
// the kernel does atomically: each packet is judged by the whole old list or
// by the whole new one. This replaces two copies of all tables and one word
// flipped: a change of one policy then costs its own entries, not the world's.
// The epoch, bumped last, makes cached verdicts of connections stale.
package ruleset

import "net/netip"

// Words and Bits bound the rule bits of one policy set.
const (
	Words = 4
	Bits  = 64 * Words
)

// Bitmap is a set of rule bits. Bit i is bit i%64 of word i/64. Lower bits
// have precedence.
type Bitmap [Words]uint64

// Add sets bit i. It panics if i is outside [0, Bits).
func (b *Bitmap) Add(i int) { b[i/64] |= 1 << (i % 64) }

// Has says whether bit i is set.
func (b Bitmap) Has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// SetID and the others are identifiers; see the package comment. Zero has a fixed meaning each.
type (
	SetID      uint32 // 0: no policy selects the pod there, everything is allowed
	ClassID    uint32 // 0: no peer selector matches the address
	PortClass  uint16 // within a set; 0: no port of any rule matches
	EndpointID uint32 // one pod's life with its addresses; never reused in a session. 0: none
)

// ServicePorts is the port class of every packet to a service address: the
// bitmap of (set, service class, ServicePorts) is that of the backends.
const ServicePorts PortClass = 0xffff

// Set is a policy set: the ordered rule bits that judge one direction of the
// pods that share it. Order: admin tier by priority, then all NetworkPolicy
// rules, then one default-deny bit for each NetworkPolicy that isolates, then
// baseline tier by priority.
//
// The verdict of a mode mask M is the action of the first bit of
// (matches | Always) & M; a Pass bit in the admin tier clears the rest of that
// tier and looks again, a Pass bit in the baseline tier allows; no bit: allow.
//
// Only Current, Candidate and Enforced may change while the set lives. A
// toggle writes those and nothing else.
type Set struct {
	ID     SetID
	Always Bitmap // match every packet: default denies
	Deny   Bitmap // action of the bit; a bit in neither Deny nor Pass allows
	Pass   Bitmap

	AdminEnd      uint16 // bits [0, AdminEnd) are the admin tier
	IsolateStart  uint16 // bits [IsolateStart, BaselineStart) are the default denies
	BaselineStart uint16 // bits [BaselineStart, Bits) are the baseline tier

	Ranges bool // valid iff some port class of the set stands in Ruleset.PortRanges

	Current   Bitmap // the policies that the cluster has
	Candidate Bitmap // the policies of the dry-run; equal to Current if there is none
	Enforced  Bitmap // evaluated like the others; its Deny drops while the lease runs: Candidate without the deny bits of policies that aren't enforced
}

// Endpoint is a local pod address and the sets that judge it.
type Endpoint struct {
	IP      netip.Addr // never 4-in-6
	ID      EndpointID
	Ingress SetID
	Egress  SetID
}

// Peer gives the class of an address: a pod's or node's own (an exact
// address), or a range's (longest prefix wins, and an exact address wins over
// ranges; its class already counts every range that it is in).
type Peer struct {
	Prefix netip.Prefix
	Class  ClassID
	Flags  PeerFlags
}

// PeerFlags are facts of the address that some cases turn on.
type PeerFlags uint8

// Flags of an address.
const (
	PeerNode      PeerFlags = 1 << iota // an address of any node
	PeerLocalNode                       // an address of the node that the ruleset is for: its traffic to local pods is always allowed (SEMANTICS case 24)
	PeerPod                             // a pod's own address
)

// Service gives the class of a service address and port.
type Service struct {
	IP       netip.Addr
	Protocol uint8  // IANA
	Port     uint16 // host order
	Class    ClassID
}

// Port gives the port class of one port of one set. Protocol 0 with port 0 is
// the class of everything that no other entry names; port 0 with a protocol
// that of every other port of the protocol.
type Port struct {
	Set      SetID
	Protocol uint8
	Port     uint16 // host order
	Class    PortClass
}

// PortRange is a run of ports written as a prefix of the 16-bit port:
// Bits leading bits of Port count. Valid iff the low 16-Bits bits are 0.
// A Port entry wins over ranges, a longer prefix over a shorter one.
type PortRange struct {
	Set      SetID
	Protocol uint8
	Port     uint16
	Bits     uint8
	Class    PortClass
}

// Match gives the rule bits that match (peer class, port class) in a set,
// without the set's Always bits. An absent entry means that of class 0 with
// the same ports, and if that is absent too, none: class 0 is matched by the
// rules for any peer, so a class that no other rule of the set names needs no
// entries there.
type Match struct {
	Set   SetID
	Peer  ClassID
	Ports PortClass
	Open  Modes  // modes in which a verdict is contested, whatever Alt says; the other reading is then the opposite of Bits'
	Bits  Bitmap // the reading that enforcement takes
	Alt   Bitmap // the other reading; a verdict is contested if the two decide otherwise
}

// Modes are sets of policies that a verdict is asked for.
type Modes uint8

// Modes that a Match can leave open.
const (
	Current Modes = 1 << iota
	Candidate
)

// Ruleset is everything that one node's kernel needs. Slices are sorted by
// their key fields and have no duplicates: [Diff] and dumps rely on it.
type Ruleset struct {
	Generation uint64 // of the plugin's compilation; grows
	Sets       []Set
	Endpoints  []Endpoint
	Peers      []Peer
	Services   []Service
	Ports      []Port
	PortRanges []PortRange
	Matches    []Match
}
