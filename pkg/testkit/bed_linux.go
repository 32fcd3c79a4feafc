// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// dialTimeout bounds what a broken bed costs; a good one answers in
// microseconds.
const dialTimeout = 5 * time.Second

// Bed is a node with pods behind it, in namespaces that end with the test.
type Bed struct {
	Node *netbed.Node
	t    testing.TB
}

// NewBed makes a node with these addresses, at most one of each family. It
// calls [NeedsRoot]. With no addresses it takes 10.88.0.1 and fd88::1.
func NewBed(t testing.TB, node ...netip.Addr) *Bed {
	t.Helper()
	NeedsRoot(t)
	if len(node) == 0 {
		node = []netip.Addr{netip.MustParseAddr("10.88.0.1"), netip.MustParseAddr("fd88::1")}
	}
	n, err := netbed.NewNode("node", node...)
	if err != nil {
		t.Fatal(err)
	}
	b := &Bed{Node: n, t: t}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Pod adds a pod. With no addresses it takes the next of 10.88.0.0/24 and
// fd88::/64, from .2 and ::2.
func (b *Bed) Pod(name string, ips ...netip.Addr) *netbed.Pod {
	b.t.Helper()
	if len(ips) == 0 {
		i := len(b.Node.Pods()) + 2
		ips = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.88.0.%d", i)), netip.MustParseAddr(fmt.Sprintf("fd88::%x", i))}
	}
	p, err := b.Node.AddPod(name, ips...)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// Listen opens a listener in the pod, closed when the test ends.
func (b *Bed) Listen(p *netbed.Pod, network string, at netip.AddrPort) net.Listener {
	b.t.Helper()
	var l net.Listener
	b.do(p, func() (io.Closer, error) {
		var err error
		l, err = net.Listen(network, at.String())
		return l, err
	})
	return l
}

// ListenPacket opens a packet socket in the pod, closed when the test ends.
func (b *Bed) ListenPacket(p *netbed.Pod, network string, at netip.AddrPort) net.PacketConn {
	b.t.Helper()
	var c net.PacketConn
	b.do(p, func() (io.Closer, error) {
		var err error
		c, err = net.ListenPacket(network, at.String())
		return c, err
	})
	return c
}

// Dial connects from the pod, and fails the test if that fails.
func (b *Bed) Dial(p *netbed.Pod, network string, to netip.AddrPort) net.Conn {
	b.t.Helper()
	var c net.Conn
	b.do(p, func() (io.Closer, error) {
		var err error
		c, err = net.DialTimeout(network, to.String(), dialTimeout)
		return c, err
	})
	return c
}

// Try connects from the pod within the time given and returns the error.
func (b *Bed) Try(p *netbed.Pod, network string, to netip.AddrPort, within time.Duration) error {
	b.t.Helper()
	return p.Do(func() error {
		c, err := net.DialTimeout(network, to.String(), within)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Echo answers every TCP connection to the address with what it sends, until
// the test ends.
func (b *Bed) Echo(p *netbed.Pod, at netip.AddrPort) {
	b.t.Helper()
	l := b.Listen(p, "tcp", at)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // a test that cuts connections makes this fail, as it should
			}()
		}
	}()
}

// EchoUDP answers every datagram to the address with itself, until the test ends.
func (b *Bed) EchoUDP(p *netbed.Pod, at netip.AddrPort) {
	b.t.Helper()
	c := b.ListenPacket(p, "udp", at)
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := c.WriteTo(buf[:n], from); err != nil {
				return
			}
		}
	}()
}

func (b *Bed) do(p *netbed.Pod, f func() (io.Closer, error)) {
	b.t.Helper()
	var c io.Closer
	err := p.Do(func() error {
		var err error
		c, err = f()
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
}
