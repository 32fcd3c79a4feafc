// SPDX-License-Identifier: Apache-2.0

package netbed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is a namespace that routes between its pods, as a CNI of the
// point-to-point kind sets a node up: one veth for each pod, a host route to
// it, and the node as every pod's gateway.
//
//	pod a  eth0 ──── veth1 ┐
//	                       node (forwards, firewalls)
//	pod b  eth0 ──── veth2 ┘
type Node struct {
	*Namespace
	gateways []netip.Addr // addresses of the node, on every veth
	pods     []*Pod
}

// Pod is a namespace with eth0 behind a [Node].
type Pod struct {
	*Namespace
	IPs    []netip.Addr
	Device string // the other end of eth0, in the node
	Index  int    // of eth0, in the pod
}

// NewNode makes a node with these addresses, one of each family at most.
func NewNode(name string, ips ...netip.Addr) (*Node, error) {
	ns, err := New(name)
	if err != nil {
		return nil, err
	}
	n := &Node{Namespace: ns, gateways: ips}
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv6/conf/all/forwarding", "1"},
		{"net/ipv6/conf/default/accept_dad", "0"}, // addresses work at once
	} {
		if err := ns.Sysctl(s[0], s[1]); err != nil {
			return nil, errors.Join(err, ns.Close())
		}
	}
	return n, nil
}

// Pods are in the order in which they were added.
func (n *Node) Pods() []*Pod { return n.pods }

// AddPod makes a pod that reaches the node and all other pods by the node.
func (n *Node) AddPod(name string, ips ...netip.Addr) (*Pod, error) {
	ns, err := New(name)
	if err != nil {
		return nil, err
	}
	p := &Pod{Namespace: ns, IPs: ips, Device: fmt.Sprintf("veth%d", len(n.pods)+1)}
	if err := n.connect(p); err != nil {
		return nil, errors.Join(fmt.Errorf("pod %q: %w", name, err), ns.Close())
	}
	n.pods = append(n.pods, p)
	return p, nil
}

func (n *Node) connect(p *Pod) error {
	if err := p.Sysctl("net/ipv6/conf/default/accept_dad", "0"); err != nil {
		return err
	}
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: p.Device, Namespace: netlink.NsFd(n.Fd()), MTU: 1500})
	veth.PeerName = "eth0"
	veth.PeerNamespace = netlink.NsFd(p.Fd())
	if err := n.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %q: %w", p.Device, err)
	}
	for ns, link := range map[*Namespace]string{n.Namespace: p.Device, p.Namespace: "eth0"} {
		if err := ns.up(link); err != nil {
			return err
		}
	}
	outer, err := n.nl.LinkByName(p.Device)
	if err != nil {
		return fmt.Errorf("link %q: %w", p.Device, err)
	}
	inner, err := p.nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("link eth0: %w", err)
	}
	p.Index = inner.Attrs().Index
	for _, gw := range n.gateways {
		if err := n.addAddr(outer, gw); err != nil {
			return err
		}
	}
	for _, ip := range p.IPs {
		if err := p.addAddr(inner, ip); err != nil {
			return err
		}
		if err := n.addRoute(outer, hostNet(ip), nil); err != nil {
			return err
		}
		for _, gw := range n.gateways {
			if gw.Is4() != ip.Is4() {
				continue
			}
			if err := p.addRoute(inner, hostNet(gw), nil); err != nil {
				return err
			}
			if err := p.addRoute(inner, anywhere(gw), gw.AsSlice()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close lets the node and all its pods go.
func (n *Node) Close() error {
	var errs []error
	for _, p := range n.pods {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, n.Namespace.Close())...)
}

func (n *Namespace) addAddr(l netlink.Link, ip netip.Addr) error {
	a := &netlink.Addr{IPNet: hostNet(ip)}
	if ip.Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := n.nl.AddrAdd(l, a); err != nil {
		return fmt.Errorf("address %s on %q in namespace %q: %w", ip, l.Attrs().Name, n.name, err)
	}
	return nil
}

func (n *Namespace) addRoute(l netlink.Link, dst *net.IPNet, via net.IP) error {
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Gw: via}
	if via == nil {
		r.Scope = netlink.SCOPE_LINK
	}
	if err := n.nl.RouteReplace(r); err != nil {
		return fmt.Errorf("route to %s in namespace %q: %w", dst, n.name, err)
	}
	return nil
}

func hostNet(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
}

func anywhere(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: make(net.IP, ip.BitLen()/8), Mask: net.CIDRMask(0, ip.BitLen())}
}
