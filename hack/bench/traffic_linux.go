// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
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
	message = 64        // bytes of an answer, and of a small request
	block   = 128 << 10 // bytes of a large one that are sent at once, as iperf does
)

// echo as a connection's first byte: each message is answered with itself. Else
// what an exchange is follows.
const echo = 0

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
	var x exchange
	if err := binary.Read(c, binary.BigEndian, &x); err != nil {
		return
	}
	// Whoever asked sees how it ends.
	_ = blocking(c, int(x.There), func(fd int) error {
		buf := make([]byte, block)
		for {
			if err := transfer(unix.Read, fd, buf, int(x.Size)); err != nil {
				return err
			}
			if err := transfer(unix.Write, fd, buf, message); err != nil {
				return err
			}
		}
	})
}

// exchange is a request of some bytes and its answer. Each end is a thread that
// blocks in the kernel, on a processor of its own or both on one, as netperf's
// -T has it: who meets whom where is otherwise the scheduler's choice, which
// changes from one turn to the next and weighs ten times what we measure.
type exchange struct {
	Here, There uint8 // processors: see nth
	Size        uint32
}

// open gives a way to make n exchanges, which tells how long they took. It can
// be used until stop is called.
func (x exchange) open(client *netbed.Pod, to netip.AddrPort) (run func(n int) (time.Duration, error), stop func(), err error) {
	c, err := dial(client, to, echo+1)
	if err != nil {
		return nil, nil, err
	}
	if err := binary.Write(c, binary.BigEndian, x); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	asked, took, ended := make(chan int), make(chan time.Duration), make(chan error, 1)
	go func() {
		ended <- blocking(c, int(x.Here), func(fd int) error {
			buf := make([]byte, block)
			for n := range asked {
				start := time.Now()
				for range n {
					if err := transfer(unix.Write, fd, buf, int(x.Size)); err != nil {
						return err
					}
					if err := transfer(unix.Read, fd, buf, message); err != nil {
						return err
					}
				}
				took <- time.Since(start)
			}
			return nil
		})
	}()
	run = func(n int) (time.Duration, error) {
		select {
		case asked <- n:
		case err := <-ended:
			return 0, err
		}
		select {
		case d := <-took:
			return d, nil
		case err := <-ended:
			return 0, err
		}
	}
	return run, func() { close(asked); c.Close() }, nil
}

// transfer moves that many bytes.
func transfer(move func(fd int, b []byte) (int, error), fd int, buf []byte, bytes int) error {
	for bytes > 0 {
		n, err := move(fd, buf[:min(bytes, len(buf))])
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		bytes -= n
	}
	return nil
}

// blocking runs f on one of our processors, with the connection as a file that
// waits in the kernel.
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
		err := unix.SchedSetaffinity(0, nth(&all, processor))
		if err == nil {
			err = f(int(file.Fd()))
		}
		ended <- err
	}()
	return <-ended
}

// nth is one of the processors, counted from 0 and over again after the last.
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

// open opens a connection, asks once and closes, n times.
func open(client *netbed.Pod, to netip.AddrPort, n int) error {
	buf := make([]byte, 1+message)
	buf[0] = echo
	return client.Do(func() error {
		for range n {
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
		}
		return nil
	})
}
