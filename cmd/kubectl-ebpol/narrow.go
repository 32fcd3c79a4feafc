// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/tui"
)

var _ tui.Narrower = (*actions)(nil)

// optioned is a session whose probes can be asked for something else.
type optioned interface {
	SetOptions(change func(*wire.Options))
}

// narrower keeps what the probes are asked for as narrow as the filter allows,
// while pods come and go.
type narrower struct {
	mu      sync.Mutex
	stop    chan struct{} // of the goroutine that follows; nil: none
	follows sync.WaitGroup
}

const (
	maxPrefixes = 2000 // of one end; more wouldn't save anything
	narrowEvery = time.Second
)

// Narrow implements [tui.Narrower].
func (a *actions) Narrow(_ context.Context, filter string, trouble bool) (string, error) {
	o, ok := a.source.(optioned)
	if !ok {
		return "", nil // a recording
	}
	a.narrow.mu.Lock()
	defer a.narrow.mu.Unlock()
	if a.narrow.stop != nil {
		close(a.narrow.stop)
		a.narrow.stop = nil
		a.narrow.follows.Wait()
	}
	world := a.store.World()
	p, words, err := pattern(filter, trouble, world)
	if err != nil {
		return "", err
	}
	o.SetOptions(func(o *wire.Options) { o.Only = p })
	if p == nil {
		return "", nil
	}
	if len(p.GetFrom())+len(p.GetTo()) > 0 {
		stop := make(chan struct{})
		a.narrow.stop = stop
		a.narrow.follows.Go(func() { a.followNarrow(o, stop, world, filter, trouble) })
	}
	return "probes send " + words + " only", nil
}

// followNarrow asks again when the names in the filter have come to mean other
// addresses.
func (a *actions) followNarrow(o optioned, stop <-chan struct{}, world *identity.World, filter string, trouble bool) {
	tick := time.NewTicker(narrowEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := a.store.World()
		if now == world {
			continue
		}
		world = now
		if p, _, err := pattern(filter, trouble, world); err == nil {
			o.SetOptions(func(o *wire.Options) { o.Only = p })
		}
	}
}

// pattern is what of a filter can be judged by addresses, ports and verdicts:
// it lets through all that the filter lets through, and as little beside it as
// it can say. words name its parts. It is nil if it would let everything
// through.
func pattern(filter string, trouble bool, world *identity.World) (p *wire.Pattern, words string, err error) {
	p = &wire.Pattern{Trouble: trouble}
	terms, err := store.FilterTerms(filter)
	if err != nil {
		return nil, "", err
	}
	var said []string
	for _, t := range terms {
		switch {
		case t.Negated:
		case t.Field == "port" && len(t.Values) == 1 && p.Port == 0:
			n, err := strconv.ParseUint(t.Values[0], 10, 16)
			if err != nil || n == 0 {
				continue
			}
			p.Port = uint32(n)
			said = append(said, t.String())
		case t.Field == "protocol" && len(t.Values) == 1 && p.Protocol == 0:
			proto, err := flow.ParseProtocol(t.Values[0])
			if err != nil {
				continue
			}
			p.Protocol = uint32(proto)
			said = append(said, t.String())
		case t.Field == "verdict" && !slices.ContainsFunc(t.Values, func(v string) bool { return strings.HasPrefix(strings.ToLower(v), "allow") }):
			p.Trouble = true
		case t.Field == "from" && p.From == nil:
			if p.From, err = addresses(t, world); err != nil {
				return nil, "", err
			}
			if p.From != nil {
				said = append(said, t.String())
			}
		case t.Field == "to" && p.To == nil:
			if p.To, err = addresses(t, world); err != nil {
				return nil, "", err
			}
			if p.To != nil {
				said = append(said, t.String())
			}
		}
	}
	if p.Trouble {
		said = append(said, "trouble")
	}
	if len(said) == 0 {
		return nil, "", nil
	}
	return p, strings.Join(said, " "), nil
}

// addresses are those of everyone that a term may mean; nil if that can't be
// said: a name from outside the cluster, or too many.
func addresses(t store.Term, world *identity.World) ([]*wire.Prefix, error) {
	if world == nil {
		return nil, nil
	}
	match, err := store.ParseFilter("from="+strings.Join(t.Values, ","), nil)
	if err != nil {
		return nil, err
	}
	means := func(p flow.Peer) bool { return match(&flow.Event{Source: &p}) }
	found := map[netip.Addr]bool{}
	for _, v := range t.Values {
		known := false
		add := func(p flow.Peer, ips []netip.Addr) {
			for _, ip := range ips {
				p.IP = ip
				if one, err := store.ParseFilter("from="+v, nil); err == nil && one(&flow.Event{Source: &p}) && means(p) {
					found[ip], known = true, true
				}
			}
		}
		if ip, err := netip.ParseAddr(v); err == nil {
			found[ip], known = true, true
		}
		for _, p := range world.Pods {
			add(flow.Peer{Namespace: p.Namespace, Pod: p.Name, Workload: p.Workload, Node: p.Node}, p.IPs)
		}
		for _, s := range world.Services {
			add(flow.Peer{Service: s.Key()}, s.IPs)
		}
		for _, n := range world.Nodes {
			add(flow.Peer{Name: n.Name, Node: n.Name}, n.IPs)
		}
		if !known || strings.Contains(v, "*") {
			return nil, nil // it may be the name of somebody outside
		}
	}
	if len(found) == 0 || len(found) > maxPrefixes {
		return nil, nil
	}
	list := make([]netip.Addr, 0, len(found))
	for ip := range found {
		list = append(list, ip)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	out := make([]*wire.Prefix, 0, len(list))
	for _, ip := range list {
		out = append(out, &wire.Prefix{Ip: wire.AddrBytes(ip), Bits: uint32(ip.BitLen())}) //nolint:gosec // 32 or 128
	}
	return out, nil
}
