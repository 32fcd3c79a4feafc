// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

const (
	block   = 128 << 10 // bytes a write, as iperf does
	message = 64        // bytes of a request and of its answer
)

// The first byte of a connection says what the client wants.
const (
	sink = 's' // read everything
	echo = 'e' // answer each message with itself
)

func dial(p *netbed.Pod, to netip.AddrPort, mode byte) (net.Conn, error) {
	var c net.Conn
	err := p.Do(func() error {
		var err error
		if c, err = net.DialTimeout("tcp", to.String(), 5*time.Second); err != nil {
			return err
		}
		_, err = c.Write([]byte{mode})
		return err
	})
	return c, err
}

// serve answers until stop is called.
func serve(p *netbed.Pod, at netip.AddrPort) (stop func(), err error) {
	var l net.Listener
	if err := p.Do(func() error { l, err = net.Listen("tcp", at.String()); return err }); err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return func() { l.Close() }, nil
}

func answer(c net.Conn) {
	mode := make([]byte, 1)
	if _, err := io.ReadFull(c, mode); err != nil {
		return
	}
	if mode[0] == echo {
		buf := make([]byte, message)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}
	buf := make([]byte, block)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// throughput is in Gbit/s as the sender counts.
func throughput(client *netbed.Pod, to netip.AddrPort, d time.Duration) (float64, error) {
	c, err := dial(client, to, sink)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, block)
	var sent int64
	start := time.Now()
	for time.Since(start) < d {
		n, err := c.Write(buf)
		if err != nil {
			return 0, err
		}
		sent += int64(n)
	}
	return float64(sent) * 8 / time.Since(start).Seconds() / 1e9, nil
}

// requests is the number of one-message answers per second on one connection.
func requests(client *netbed.Pod, to netip.AddrPort, d time.Duration) (float64, error) {
	c, err := dial(client, to, echo)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, message)
	n := 0
	start := time.Now()
	for time.Since(start) < d {
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// latency is the median time of one-message answers on one connection, in
// microseconds.
func latency(client *netbed.Pod, network string, to netip.AddrPort, d time.Duration) (float64, error) {
	var c net.Conn
	err := client.Do(func() error {
		var err error
		c, err = net.DialTimeout(network, to.String(), 5*time.Second)
		return err
	})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(d + 5*time.Second)); err != nil {
		return 0, err
	}
	buf := make([]byte, message)
	if network == "tcp" {
		if _, err := c.Write([]byte{echo}); err != nil {
			return 0, err
		}
	}
	var took []float64
	for start := time.Now(); time.Since(start) < d; {
		asked := time.Now()
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(asked).Nanoseconds())/1e3)
	}
	return median(took), nil
}

// echoes answers datagrams until stop is called.
func echoes(p *netbed.Pod, at netip.AddrPort) (stop func(), err error) {
	var c net.PacketConn
	if err := p.Do(func() error { c, err = net.ListenPacket("udp", at.String()); return err }); err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, message)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from) // whoever asked sees that nothing came
		}
	}()
	return func() { c.Close() }, nil
}

// connections opens, asks once and closes, as often as it can.
func connections(client *netbed.Pod, to netip.AddrPort, d time.Duration) (float64, error) {
	n := 0
	start := time.Now()
	err := openWhile(client, to, func() bool { n++; return time.Since(start) < d })
	return float64(n) / time.Since(start).Seconds(), err
}

// open does that n times.
func open(client *netbed.Pod, to netip.AddrPort, n int) error {
	return openWhile(client, to, func() bool { n--; return n > 0 })
}

// openWhile asks after each connection whether there is to be another.
func openWhile(client *netbed.Pod, to netip.AddrPort, more func() bool) error {
	buf := make([]byte, 1+message)
	buf[0] = echo
	return client.Do(func() error {
		for {
			c, err := net.Dial("tcp", to.String())
			if err != nil {
				return err
			}
			// A reset instead of TIME_WAIT: ports would run out.
			if err := c.(*net.TCPConn).SetLinger(0); err != nil {
				return err
			}
			if _, err := c.Write(buf); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, buf[1:]); err != nil {
				return err
			}
			c.Close()
			if !more() {
				return nil
			}
		}
	})
}
