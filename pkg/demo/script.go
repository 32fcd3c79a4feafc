// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"net/netip"
	"strings"
)

// script is what a pod's process is told on its standard input: one JSON
// value. The process ends when its standard input does.
type script struct {
	Name     string                  `json:"name"`
	IPs      []netip.Addr            `json:"ips"`
	Listen   []Port                  `json:"listen,omitempty"`
	Calls    []Call                  `json:"calls,omitempty"`
	Resolver []netip.AddrPort        `json:"resolver,omitempty"` // one of each family
	Zone     map[string][]netip.Addr `json:"zone,omitempty"`     // what a DNS pod answers
}

const (
	dnsPort = 53
	zone    = "svc.cluster.local."
)

// script writes an actor's part. With services, names resolve to service
// addresses; without (the kernel can't translate), to the backends' own.
func (c *Cast) script(a *Actor, services bool) (*script, error) {
	s := &script{Name: a.Name, IPs: a.IPs, Listen: a.Ports}
	for _, call := range a.Calls {
		if pod, ok := strings.CutPrefix(call.To, "pod/"); ok {
			i := strings.LastIndexByte(pod, ':')
			if i < 0 || c.Actor(pod[:i]) == nil {
				return nil, fmt.Errorf("call of %q to %q: no such actor", a.Key(), call.To)
			}
			for _, ip := range c.Actor(pod[:i]).IPs {
				one := call
				one.To = netip.AddrPortFrom(ip, 0).Addr().String()
				if ip.Is6() {
					one.To = "[" + one.To + "]"
				}
				one.To += pod[i:]
				// Each family gets its turn, so that the sum is what was asked for.
				one.Every *= 2
				s.Calls = append(s.Calls, one)
			}
			continue
		}
		s.Calls = append(s.Calls, call)
	}
	addrs := func(svc *Service) []netip.Addr {
		if services {
			return svc.IPs
		}
		var ips []netip.Addr
		for _, key := range svc.Backends {
			ips = append(ips, c.Actor(key).IPs...)
		}
		return ips
	}
	if a.DNS {
		s.Zone = map[string][]netip.Addr{}
	}
	for _, svc := range c.Services {
		if a.DNS {
			s.Zone[svc.Name+"."+svc.Namespace+"."+zone] = addrs(svc)
		}
		if svc.Name == "kube-dns" {
			for _, ip := range addrs(svc) {
				s.Resolver = append(s.Resolver, netip.AddrPortFrom(ip, dnsPort))
			}
		}
	}
	if !services {
		// Nobody translates the service's port to the pod's.
		for i := range s.Calls {
			for _, svc := range c.Services {
				if s.Calls[i].To == fmt.Sprintf("%s.%s:%d", svc.Name, svc.Namespace, svc.Port) {
					s.Calls[i].To = fmt.Sprintf("%s.%s:%d", svc.Name, svc.Namespace, svc.Target)
				}
			}
		}
	}
	return s, nil
}
