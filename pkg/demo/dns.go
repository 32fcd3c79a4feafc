// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// serveDNS answers A and AAAA questions from the zone until ctx ends.
func serveDNS(ctx context.Context, c net.PacketConn, zone map[string][]netip.Addr) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			continue // an ICMP error about an answer to somebody who has left
		}
		if answer, err := answerDNS(buf[:n], zone); err == nil {
			_, _ = c.WriteTo(answer, from) // as with any DNS server: the client asks again
		}
	}
}

func answerDNS(question []byte, zone map[string][]netip.Addr) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	ips, known := zone[strings.ToLower(q.Name.String())]
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired},
		Questions: []dnsmessage.Question{q},
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, ip := range ips {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
		switch {
		case q.Type == dnsmessage.TypeA && ip.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: ip.As4()}})
		case q.Type == dnsmessage.TypeAAAA && ip.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	return m.Pack()
}

// lookup asks the server for a name's addresses of one type.
func lookup(ctx context.Context, server netip.AddrPort, name string, kind dnsmessage.Type) ([]netip.Addr, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", name, err)
	}
	id := uint16(time.Now().UnixNano())
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packed, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", name, err)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline) // fails only on a closed connection
	}
	if _, err := c.Write(packed); err != nil {
		return nil, err
	}
	buf := make([]byte, 1500)
	for {
		l, err := c.Read(buf)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", name, err)
		}
		var answer dnsmessage.Message
		if answer.Unpack(buf[:l]) != nil || answer.ID != id {
			continue
		}
		var ips []netip.Addr
		for _, r := range answer.Answers {
			switch b := r.Body.(type) {
			case *dnsmessage.AResource:
				ips = append(ips, netip.AddrFrom4(b.A))
			case *dnsmessage.AAAAResource:
				ips = append(ips, netip.AddrFrom16(b.AAAA))
			}
		}
		if len(ips) == 0 {
			return nil, fmt.Errorf("name %q: no %s record", name, strings.TrimPrefix(kind.String(), "Type"))
		}
		return ips, nil
	}
}
