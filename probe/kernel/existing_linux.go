// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Existing is a connection that was open before anyone watched.
type Existing struct {
	Local, Peer         netip.Addr
	LocalPort, PeerPort uint16 // host order
	Protocol            flow.Protocol
	Direction           flow.Direction // who opened it
	Endpoint            ruleset.EndpointID
}

// Seed adds connections that are already there, unless a packet of them was
// faster, and judges them. It says how many were added. A full table is no
// error: their next packet is then taken for one in mid-stream.
func (k *Kernel) Seed(list []Existing) (int, error) {
	now := uint64(monotonic())
	added := 0
	for _, e := range list {
		k.seeds++
		c := bpf.FlowConn{
			Id: k.seeds<<12 | 0xfff, FirstNs: now, LastNs: now, JudgedNs: now, Direction: uint8(e.Direction),
			Endpoint: uint32(e.Endpoint), Flags: uint16(bpf.FlowConnFlagsCONN_PREEXISTING),
		}
		if e.Protocol == flow.TCP {
			c.TcpFlags = [2]uint8{tcpSyn | tcpAck, tcpSyn | tcpAck}
		}
		switch err := k.add(&e, &c); {
		case err == nil:
			added++
		case errors.Is(err, ebpf.ErrKeyExist):
		case errors.Is(err, errTooBig):
			return added, k.judgeAgain()
		default:
			return added, fmt.Errorf("add a connection that was open before: %w", err)
		}
	}
	if added == 0 {
		return 0, nil
	}
	return added, k.judgeAgain()
}

func (k *Kernel) add(e *Existing, c *bpf.FlowConn) error {
	if e.Local.Is4() {
		return k.add4(e.key4(), c)
	}
	return k.objects.Conns6.Update(e.key6(), c, ebpf.UpdateNoExist)
}

// takeOut reads and deletes one.
func (k *Kernel) takeOut(e *Existing, c *bpf.FlowConn) error {
	if !e.Local.Is4() {
		return takeOut(k.objects.Conns6, e.key6(), c)
	}
	key := e.key4()
	if k.seats.takeOut(seatKeyOf(&key), c) {
		return nil
	}
	return takeOut(k.objects.Conns4, key, c)
}

func (e *Existing) key4() bpf.FlowConn4Key {
	return bpf.FlowConn4Key{
		Local: addr(e.Local).Word[3], Peer: addr(e.Peer).Word[3],
		LocalPort: swap16(e.LocalPort), PeerPort: swap16(e.PeerPort), Protocol: uint8(e.Protocol),
	}
}

func (e *Existing) key6() bpf.FlowConn6Key {
	return bpf.FlowConn6Key{
		Local: addr(e.Local), Peer: addr(e.Peer),
		LocalPort: swap16(e.LocalPort), PeerPort: swap16(e.PeerPort), Protocol: uint8(e.Protocol),
	}
}

// takeOut reads and deletes at once where the kernel can (5.14).
func takeOut(m *ebpf.Map, key any, c *bpf.FlowConn) error {
	err := m.LookupAndDelete(key, c)
	if err == nil || errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	if err := m.Lookup(key, c); err != nil {
		return err
	}
	return m.Delete(key)
}
