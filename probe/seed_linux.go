// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// maxSeeds bounds what one search adds; a table as full as that has no use
// for more.
const maxSeeds = 32768

// The kernel's numbers of states: of sockets, and of conntrack's TCP.
const (
	tcpEstablished = 1
	tcpListen      = 10

	conntrackSynSent = 1 // nobody has answered yet: who still waits repeats its SYN, which tells
	conntrackLastAck = 6 // from here on there is nothing more to say
)

// seed adds the connections that the pods have open, so that they are judged
// as what they are: who opened them can't be seen in mid-stream. The node's
// conntrack knows most; the pods' own sockets know the rest of TCP.
func (p *Probe) seed(found []*endpoint) error {
	ids := make(map[netip.Addr]ruleset.EndpointID)
	for _, e := range found {
		for _, ip := range e.ips {
			ids[ip] = ruleset.EndpointID(e.id)
		}
	}
	var errs []error
	list, err := tracked(ids)
	errs = append(errs, err)
	for _, e := range found {
		err := inside(e.ns.path, func() error {
			more, err := sockets(ids)
			list = append(list, more...)
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // the pod ended meanwhile: it has no connections left
		}
		errs = append(errs, err)
	}
	if len(list) > maxSeeds {
		list = list[:maxSeeds]
	}
	_, err = p.kernel.Seed(list)
	return errors.Join(append(errs, err)...)
}

// tracked asks conntrack. A connection to a service has the service's address
// in the direction of whoever opened it, and the pod's in that of the replies:
// each end is found as it sees itself.
func tracked(ids map[netip.Addr]ruleset.EndpointID) ([]kernel.Existing, error) {
	var all []kernel.Existing
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
				continue // no conntrack on this node
			}
			return all, fmt.Errorf("read conntrack: %w", err)
		}
		for _, f := range flows {
			protocol := flow.Protocol(f.Forward.Protocol)
			if info, ok := f.ProtoInfo.(*netlink.ProtoInfoTCP); ok && (info.State <= conntrackSynSent || info.State >= conntrackLastAck) {
				continue // not open yet, which dropped attempts remain for minutes, or closing
			}
			if !protocol.HasPorts() {
				continue // echoes are over in a moment
			}
			src, dst := address(f.Forward.SrcIP), address(f.Forward.DstIP)
			if id, ok := ids[src]; ok {
				all = append(all, kernel.Existing{
					Local: src, Peer: dst, LocalPort: f.Forward.SrcPort, PeerPort: f.Forward.DstPort,
					Protocol: protocol, Direction: flow.Egress, Endpoint: id,
				})
			}
			src, dst = address(f.Reverse.SrcIP), address(f.Reverse.DstIP)
			if id, ok := ids[src]; ok {
				all = append(all, kernel.Existing{
					Local: src, Peer: dst, LocalPort: f.Reverse.SrcPort, PeerPort: f.Reverse.DstPort,
					Protocol: protocol, Direction: flow.Ingress, Endpoint: id,
				})
			}
		}
	}
	return all, nil
}

// sockets asks the namespace that the calling thread is in. A connection whose
// local port somebody listens on was opened by the peer.
func sockets(ids map[netip.Addr]ruleset.EndpointID) ([]kernel.Existing, error) {
	var all []kernel.Existing
	listening := make(map[uint16]bool)
	var open []*netlink.Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.SocketDiagTCP(family)
		if err != nil {
			return nil, fmt.Errorf("list the pod's sockets: %w", err)
		}
		for _, s := range list {
			switch s.State {
			case tcpListen:
				listening[s.ID.SourcePort] = true
			case tcpEstablished:
				open = append(open, s)
			}
		}
	}
	for _, s := range open {
		local, peer := address(s.ID.Source), address(s.ID.Destination)
		id, ok := ids[local]
		if !ok {
			continue
		}
		e := kernel.Existing{
			Local: local, Peer: peer, LocalPort: s.ID.SourcePort, PeerPort: s.ID.DestinationPort,
			Protocol: flow.TCP, Direction: flow.Egress, Endpoint: id,
		}
		if listening[e.LocalPort] {
			e.Direction = flow.Ingress
		}
		all = append(all, e)
	}
	return all, nil
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
