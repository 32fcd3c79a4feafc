// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

const (
	block   = 128 << 10 // bytes a write, as iperf does
	message = 64        // bytes of a request and of its answer
)

// The first byte of a connection says what the client wants. The next says on
// which processor, unless any will do.
const (
	sink = 's' // read everything
	pong = 'p' // answer whatever comes with itself
	echo = 'e' // answer each message with itself, on any processor
)

func dial(p *netbed.Pod, to netip.AddrPort, mode ...byte) (net.Conn, error) {
	var c net.Conn
	err := p.Do(func() error {
		var err error
		if c, err = net.DialTimeout("tcp", to.String(), 5*time.Second); err != nil {
			return err
		}
		_, err = c.Write(mode)
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
	processor := make([]byte, 1)
	if _, err := io.ReadFull(c, processor); err != nil {
		return
	}
	// Whoever asked sees how it ends.
	_ = blocking(c, int(processor[0]), func(fd int) error {
		buf := make([]byte, block)
		for {
			n, err := unix.Read(fd, buf)
			if n <= 0 || err != nil {
				return err
			}
			if mode[0] == pong {
				if _, err := unix.Write(fd, buf[:n]); err != nil {
					return err
				}
			}
		}
	})
}

// pinned is a load whose two ends are each a thread that blocks in the kernel,
// on a processor of its own or both on one, as netperf's -T: who meets whom where
// is otherwise the scheduler's choice, which changes from round to round and
// weighs ten times what we measure. each moves that much
// of what is counted.
func pinned(mode byte, here, there int, each func(fd int) (int, error)) func(*netbed.Pod, netip.AddrPort, time.Duration) (float64, error) {
	return func(client *netbed.Pod, to netip.AddrPort, d time.Duration) (float64, error) {
		c, err := dial(client, to, mode, byte(there))
		if err != nil {
			return 0, err
		}
		defer c.Close()
		var sum float64
		err = blocking(c, here, func(fd int) error {
			start := time.Now()
			for time.Since(start) < d {
				n, err := each(fd)
				if err != nil {
					return err
				}
				sum += float64(n)
			}
			sum /= time.Since(start).Seconds()
			return nil
		})
		return sum, err
	}
}

// blocking runs f on the given one of our processors, counted from 0 and over
// again after the last, with the connection as a file that waits in the kernel.
func blocking(c net.Conn, processor int, f func(fd int) error) error {
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer file.Close()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		ended <- errors.Join(unix.SchedSetaffinity(0, nth(&all, processor)), f(int(file.Fd())))
	}()
	return <-ended
}

func nth(all *unix.CPUSet, n int) *unix.CPUSet {
	n %= all.Count()
	var one unix.CPUSet
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			if n == 0 {
				one.Set(cpu)
			}
			n--
		}
	}
	return &one
}

var sent = make([]byte, block)

// stream is one write, in bits.
func stream(fd int) (int, error) {
	n, err := unix.Write(fd, sent)
	return 8 * n, err
}

// request is one message and its answer.
func request(fd int) (int, error) {
	buf := make([]byte, message)
	if _, err := unix.Write(fd, buf); err != nil {
		return 0, err
	}
	for got := 0; got < message; {
		n, err := unix.Read(fd, buf[got:])
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		got += n
	}
	return 1, nil
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
