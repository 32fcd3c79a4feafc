// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// forward listens in the network namespace that it was started in and dials
// in the one at path netns: no route between the two is needed, so none has
// to be made. It listens on loopback only.
func forward(listen, netns, dial string) error {
	from, err := netip.ParseAddrPort(listen)
	if err != nil || !from.Addr().IsLoopback() {
		return fmt.Errorf("listen address %q is not an address and port of loopback", listen)
	}
	to, err := netip.ParseAddrPort(dial)
	if err != nil {
		return fmt.Errorf("dial address %q: %w", dial, err)
	}
	dialIn, err := dialerIn(netns)
	if err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(from))
	if err != nil {
		return err
	}
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			up, err := dialIn(to)
			if err != nil {
				fmt.Fprintln(os.Stderr, "helper forward:", err)
				return
			}
			defer up.Close()
			join(c, up)
		}()
	}
}

// join copies both ways and passes each end of stream on.
func join(a, b *net.TCPConn) {
	var wg sync.WaitGroup
	for _, p := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(p[0], p[1]) // ends when either end does
			_ = p[0].CloseWrite()
		})
	}
	wg.Wait()
}

// dialerIn returns a dial function whose sockets are made in netns: one
// thread goes there and stays, since a socket belongs to the namespace of the
// thread that made it.
func dialerIn(netns string) (func(netip.AddrPort) (*net.TCPConn, error), error) {
	type answer struct {
		conn *net.TCPConn
		err  error
	}
	type ask struct {
		to  netip.AddrPort
		out chan answer
	}
	asks, ready := make(chan ask), make(chan error)
	go func() {
		runtime.LockOSThread()
		ready <- enter(netns)
		for a := range asks {
			c, err := dialHere(a.to)
			a.out <- answer{c, err}
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return func(to netip.AddrPort) (*net.TCPConn, error) {
		a := ask{to, make(chan answer, 1)}
		asks <- a
		r := <-a.out
		return r.conn, r.err
	}, nil
}

func enter(netns string) error {
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", netns, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace %q: %w", netns, err)
	}
	return nil
}

// dialHere makes the socket on the calling thread; net.Dial might not.
func dialHere(to netip.AddrPort) (*net.TCPConn, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), to.String())
	defer f.Close() // FileConn makes its own copy
	if err := unix.Connect(fd, sa); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
