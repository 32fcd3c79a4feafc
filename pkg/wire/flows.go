// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"math"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Nine of ten frames of a busy session are lists of flows, ten thousand flows
// a second. Reading them by the generic decoder, which looks every field up,
// and asking for new memory for each, took a third of all that such a session
// costs. What is read here is what [proto.Unmarshal] makes of the same bytes;
// where anything is out of the ordinary, that is asked instead.

// The numbers of Frame's fields that a frame of flows has.
const (
	frameSeq   = 1
	frameAck   = 2
	frameTime  = 3
	frameNode  = 4
	frameFlows = 31
)

// spareFlows are messages of frames that were released.
var spareFlows sync.Pool // of *[]*Flow

// Release gives the memory of a frame of flows back to be used for one that is
// read later. Only whoever reads the last of it may call it, once: neither the
// frame nor any of its flows may be looked at afterwards; addresses, texts and
// messages within them may be kept. Frames that nobody
// releases are collected as any memory is.
func Release(f *Frame) {
	b, ok := f.GetBody().(*Frame_Flows)
	if !ok || b.Flows == nil {
		return
	}
	list := b.Flows.Flows
	b.Flows.Flows = nil
	spare(list)
}

// spare keeps the messages of a list, but nothing that stood behind it: that
// may be somebody else's by now.
func spare(list []*Flow) {
	if list = list[:len(list):len(list)]; len(list) > 0 && len(list) <= MaxItems/8 {
		spareFlows.Put(&list)
	}
}

// decodeFlows reads a frame of flows; nil if b is not plainly that.
func decodeFlows(b []byte) *Frame {
	f := new(Frame)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		switch {
		case typ == protowire.VarintType && num <= frameTime: // seq, ack, time
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return nil
			}
			b = b[n:]
			switch num {
			case frameSeq:
				f.Seq = v
			case frameAck:
				f.Ack = v
			case frameTime:
				f.TimeNs = int64(v) //nolint:gosec // as the wire has it
			}
		case typ == protowire.BytesType && (num == frameNode || num == frameFlows):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil
			}
			b = b[n:]
			if num == frameNode {
				if !utf8.Valid(v) {
					return nil
				}
				f.Node = string(v)
				continue
			}
			if f.Body != nil {
				return nil // one after the other are merged
			}
			flows := decodeFlowList(v)
			if flows == nil {
				return nil
			}
			f.Body = &Frame_Flows{Flows: flows}
		default:
			return nil
		}
	}
	if f.Body == nil {
		return nil
	}
	return f
}

func decodeFlowList(b []byte) *Flows {
	var list []*Flow
	if kept, ok := spareFlows.Get().(*[]*Flow); ok {
		list = *kept
	}
	used, items := 0, 0
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num != 1 || typ != protowire.BytesType {
			return nil
		}
		b = b[n:]
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if used == len(list) {
			list = append(list, new(Flow))
		}
		more, ok := list[used].read(v)
		if items += 1 + more; !ok || items > MaxItems {
			return nil
		}
		used++
	}
	spare(list[used:])
	return &Flows{Flows: list[:used:used]}
}

// read makes of x, whatever it held before, what b says, and tells how many
// texts and messages are in it. It is not ok if b is for the generic decoder.
func (x *Flow) read(b []byte) (items int, ok bool) {
	x.Reset()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, false
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 || !x.number(num, v) {
				return 0, false
			}
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return 0, false
			}
			b = b[n:]
			items++
			switch num {
			case 6:
				x.LocalIp = bytes.Clone(v)
			case 7:
				x.PeerIp = bytes.Clone(v)
			case 25:
				x.BackendIp = bytes.Clone(v)
			default:
				if !x.other(num, v) {
					return 0, false
				}
			}
		default:
			return 0, false
		}
	}
	return items, true
}

// number sets a field that is a number; false: there is none of that name.
func (x *Flow) number(num protowire.Number, v uint64) bool {
	// What is over 32 bits is cut, as protobuf says.
	short := uint32(v & math.MaxUint32) //nolint:gosec // cut on purpose
	switch num {
	case 1:
		x.Id = v
	case 2:
		x.Kind = Flow_Kind(short) //nolint:gosec // as the wire has it
	case 3:
		x.Endpoint = short
	case 4:
		x.Direction = short
	case 5:
		x.Protocol = short
	case 8:
		x.LocalPort = short
	case 9:
		x.PeerPort = short
	case 10:
		x.Set = short
	case 11:
		x.Verdict = short
	case 12:
		x.Bit = short
	case 13:
		x.Candidate = short
	case 14:
		x.CandidateBit = short
	case 15:
		x.Enforced = v != 0
	case 16:
		x.Service = v != 0
	case 17:
		x.OpenerUnknown = v != 0
	case 18:
		x.PacketsIn = v
	case 19:
		x.PacketsOut = v
	case 20:
		x.BytesIn = v
	case 21:
		x.BytesOut = v
	case 22:
		x.FirstNs = int64(v) //nolint:gosec // as the wire has it
	case 23:
		x.LastNs = int64(v) //nolint:gosec // as the wire has it
	case 24:
		x.TcpFlags = short
	case 26:
		x.BackendPort = short
	case 27:
		x.Preexisting = v != 0
	case 29:
		x.EnforcedPackets = v
	case 30:
		x.Alt = short
	case 31:
		x.TcpFlagsIn = short
	case 32:
		x.TcpFlagsOut = short
	case 33:
		x.AnswerNs = int64(v) //nolint:gosec // as the wire has it
	case 34:
		x.FirstByteNs = int64(v) //nolint:gosec // as the wire has it
	case 35:
		x.Retransmits = short
	default:
		return false
	}
	return true
}

// other sets a field that is a text or a message.
func (x *Flow) other(num protowire.Number, v []byte) bool {
	var m proto.Message
	switch { // one after the other are merged: not here
	case num == 28:
		x.CloseReason = string(v)
		return utf8.Valid(v)
	case num == 36 && x.IcmpError == nil:
		x.IcmpError = new(IcmpError)
		m = x.IcmpError
	case num == 37 && x.Owner == nil:
		x.Owner = new(Owner)
		m = x.Owner
	case num == 38 && x.Request == nil:
		x.Request = new(Request)
		m = x.Request
	default:
		return false
	}
	return proto.Unmarshal(v, m) == nil
}
