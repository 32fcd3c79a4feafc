// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// patience is how long a call waits for an answer before it is given up.
const patience = 2 * time.Second

// caller makes one [Call] again and again.
type caller struct {
	call     Call
	resolver []netip.AddrPort
	turn     int // of the address families, by connection
	conn     net.Conn
	left     int // requests that conn is still good for
}

// run calls until ctx ends. A call that fails is what the demo is about, so it
// is not an error.
func (c *caller) run(ctx context.Context) {
	defer c.hangUp()
	tick := time.NewTicker(c.call.Every)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, patience)
		if err := c.once(once); err != nil {
			c.hangUp()
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) once(ctx context.Context) error {
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return err
		}
		c.left = max(c.call.Keep, 1)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	// The process's end must not wait for an answer.
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := c.ask(); err != nil {
		return err
	}
	if c.left--; c.left <= 0 {
		c.hangUp()
	}
	return nil
}

func (c *caller) ask() error {
	switch c.call.Kind {
	case HTTP:
		return c.get()
	case Database:
		return query(c.conn, c.call.Bytes)
	case Datagram:
		_, err := c.conn.Write([]byte("shop.cart.size:3|c\n"))
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil // said of the one before; such clients don't care
		}
		return err
	case Knock:
		return nil
	}
	return fmt.Errorf("call to %q: unknown kind %q", c.call.To, c.call.Kind)
}

// get writes an HTTP/1.1 request and reads the answer on the one connection,
// so that it is known how many requests a connection carries.
func (c *caller) get() error {
	r, err := http.NewRequest(http.MethodGet, "http://"+c.call.To+"/?bytes="+strconv.Itoa(c.call.Bytes), nil)
	if err != nil {
		return err
	}
	if c.left == 1 {
		r.Close = true
	}
	if err := r.Write(c.conn); err != nil {
		return err
	}
	a, err := http.ReadResponse(bufio.NewReader(c.conn), r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, a.Body)
	return errors.Join(err, a.Body.Close())
}

func (c *caller) connect(ctx context.Context) error {
	c.turn++
	host, port, err := net.SplitHostPort(c.call.To)
	if err != nil {
		return fmt.Errorf("call to %q: %w", c.call.To, err)
	}
	target := host
	if _, err := netip.ParseAddr(host); err != nil {
		// Names are asked for each time, by each family in its turn, as the
		// short-lived connections of most programs do.
		if len(c.resolver) == 0 {
			return fmt.Errorf("call to %q: no resolver", c.call.To)
		}
		server, kind := c.resolver[c.turn%len(c.resolver)], dnsmessage.TypeA
		if c.turn%2 == 1 {
			kind = dnsmessage.TypeAAAA
		}
		ips, err := lookup(ctx, server, host+"."+zone, kind)
		if err != nil {
			return err
		}
		target = ips[c.turn/2%len(ips)].String()
	}
	network := "tcp"
	if c.call.Kind == Datagram {
		network = "udp"
	}
	var d net.Dialer
	c.conn, err = d.DialContext(ctx, network, net.JoinHostPort(target, port))
	return err
}
