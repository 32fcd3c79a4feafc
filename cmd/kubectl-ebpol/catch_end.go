// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// catchEnd is one of the two that a connection is waited for between: pods, or
// addresses.
type catchEnd struct {
	text   string
	target *kube.Target // nil: addresses
	match  func(*identity.Pod) bool
	block  netip.Prefix
}

func parseEnd(s, namespace string) (catchEnd, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return catchEnd{text: s, block: netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()}, nil
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap()
		return catchEnd{text: s, block: netip.PrefixFrom(ip, ip.BitLen())}, nil
	}
	t := &kube.Target{Namespace: namespace}
	words := strings.Split(s, "/")
	if len(words) == 3 { // ns/kind/name
		t.Namespace, words = words[0], words[1:]
	}
	var err error
	t.Kind, t.Name, err = kube.ParseTarget([]string{strings.Join(words, "/")})
	if err != nil && len(words) == 2 && words[0] != "" && words[1] != "" { // ns/pod
		t.Kind, t.Namespace, t.Name, err = "pod", words[0], words[1], nil
	}
	if err != nil {
		return catchEnd{}, fmt.Errorf("%q: use ns/pod, pod/name, deploy/name, svc/name, node/name, an IP or a CIDR", s)
	}
	if t.Kind == "node" {
		t.Namespace = ""
	}
	return catchEnd{text: s, target: t}, nil
}

// look makes sure that there is such a thing. A service may be without pods:
// that is a reason to wait for what becomes of its connections.
func (e *catchEnd) look(w *kube.Watcher) error {
	if e.target == nil {
		return nil
	}
	e.match = e.target.Match(w)
	if e.target.Kind == "svc" && w.State().World.Services[e.target.Namespace+"/"+e.target.Name] != nil {
		return nil
	}
	return e.target.Check(w)
}

// is says whether the pod is meant.
func (e *catchEnd) is(p *identity.Pod) bool {
	if e.match != nil {
		return e.match(p)
	}
	return e.holds(p.IPs...)
}

func (e *catchEnd) holds(ips ...netip.Addr) bool {
	for _, ip := range ips {
		if e.block.IsValid() && e.block.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// has says whether the end of a connection is meant.
func (e *catchEnd) has(p *flow.Peer, w *identity.World) bool {
	switch {
	case e.target == nil:
		return e.holds(p.IP)
	case p.Pod != "" && w != nil && w.Pods[p.Namespace+"/"+p.Pod] != nil:
		return e.match(w.Pods[p.Namespace+"/"+p.Pod])
	case e.target.Kind == "svc":
		return p.Service == e.target.Namespace+"/"+e.target.Name
	case e.target.Kind == "node":
		return p.Node == e.target.Name && p.Pod == ""
	}
	return false
}

// prefixes are the addresses that are meant at this moment.
func (e *catchEnd) prefixes(w *identity.World) (out []*wire.Prefix) {
	add := func(ips []netip.Addr) {
		for _, ip := range ips {
			out = append(out, &wire.Prefix{Ip: ip.AsSlice(), Bits: uint32(ip.BitLen())})
		}
	}
	if e.target == nil {
		return []*wire.Prefix{{Ip: e.block.Addr().AsSlice(), Bits: uint32(e.block.Bits())}} //nolint:gosec // a valid prefix
	}
	for _, p := range w.SelectPods(e.match) {
		add(p.IPs)
	}
	if s := w.Services[e.target.Namespace+"/"+e.target.Name]; e.target.Kind == "svc" && s != nil {
		add(s.IPs)
		add(s.ExternalIPs)
	}
	if n := w.Nodes[e.target.Name]; e.target.Kind == "node" && n != nil {
		add(n.IPs)
	}
	if len(out) == 0 {
		add([]netip.Addr{netip.IPv4Unspecified()}) // none: an empty list would mean all
	}
	return out
}
