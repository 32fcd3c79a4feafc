// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// flow puts a record into the wire's words. Every message has the tuple; the
// sink leaves out what the plugin knows.
func (p *Probe) flow(r *kernel.Record) *wire.Flow {
	c, j := &r.Conn, &r.Conn.Judgement
	f := &wire.Flow{
		Id:              c.Id,
		Kind:            kinds[r.Kind],
		Endpoint:        c.Endpoint,
		Direction:       uint32(c.Direction),
		Protocol:        uint32(r.Protocol),
		LocalIp:         r.Local.AsSlice(),
		PeerIp:          r.Peer.AsSlice(),
		LocalPort:       uint32(r.LocalPort),
		PeerPort:        uint32(r.PeerPort),
		Set:             j.Set,
		Verdict:         uint32(j.Verdict),
		Bit:             uint32(j.Bit),
		Candidate:       uint32(j.Candidate),
		CandidateBit:    uint32(j.CandidateBit),
		Alt:             uint32(j.Alt),
		Enforced:        c.Drop != 0 && c.Dropped > 0,
		Service:         j.Service != 0,
		OpenerUnknown:   r.Is(bpf.FlowConnFlagsCONN_OPENER_UNKNOWN),
		Preexisting:     r.Is(bpf.FlowConnFlagsCONN_PREEXISTING),
		PacketsIn:       c.Packets[0],
		PacketsOut:      c.Packets[1],
		BytesIn:         c.Bytes[0],
		BytesOut:        c.Bytes[1],
		FirstNs:         int64(c.FirstNs) + r.Skew.Nanoseconds(),
		LastNs:          int64(max(c.LastNs, c.FirstNs)) + r.Skew.Nanoseconds(), // the last packet's clock is coarse
		EnforcedPackets: c.Dropped,
		CloseReason:     r.Reason,
		AnswerNs:        int64(c.AnswerNs),
		FirstByteNs:     int64(c.FirstByteNs),
	}
	if r.Protocol == flow.TCP {
		f.TcpFlags = uint32(c.TcpFlags[0] | c.TcpFlags[1])
		f.TcpFlagsIn, f.TcpFlagsOut = uint32(c.TcpFlags[0]), uint32(c.TcpFlags[1])
	}
	if e := r.Error; e != nil {
		f.IcmpError = &wire.IcmpError{Type: uint32(e.Type), Code: uint32(e.Code), From: e.From.AsSlice(), Mtu: e.MTU}
	}
	p.backends.fill(f)
	p.owners.fill(f)
	p.sniffer.fill(f)
	return f
}

var kinds = [...]wire.Flow_Kind{
	kernel.Counters: wire.Flow_COUNTERS,
	kernel.New:      wire.Flow_NEW,
	kernel.Verdict:  wire.Flow_VERDICT,
	kernel.Closed:   wire.Flow_CLOSE,
}

// leaseReason is the reason of what our own enforcement drops; the kernel has
// no word for it.
const leaseReason = "EBPOL_LEASE"

// leaseDrop is a sample of what the lease drops. The programs report the 1st,
// 2nd, 4th, 8th, ... of each connection; each stands for those since the last.
func leaseDrop(r *kernel.Record) *wire.Drop {
	d := &wire.Drop{
		TimeNs:     int64(r.Time),
		ReasonName: leaseReason,
		Location:   "ebpol_" + r.Direction.String(),
		Protocol:   uint32(r.Protocol),
		Src:        r.Peer.AsSlice(), Sport: uint32(r.PeerPort),
		Dst: r.Local.AsSlice(), Dport: uint32(r.LocalPort),
		Length:   r.Length,
		Enforced: true,
		Endpoint: r.Conn.Endpoint,
		Weight:   max(1, r.Conn.Dropped/2),
	}
	if r.Direction == flow.Egress {
		d.Src, d.Dst, d.Sport, d.Dport = d.Dst, d.Src, d.Dport, d.Sport
	}
	if r.Protocol == flow.TCP {
		d.TcpFlags = uint32(r.Conn.TcpFlags[0] | r.Conn.TcpFlags[1])
	}
	return d
}
