// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// only keeps to itself the samples of connections that nobody wants to see.
// The programs judge and count them all the same; when the pattern goes, they
// are told with their totals.
type only struct {
	mu       sync.Mutex
	pattern  *wire.Pattern // nil: everything is told
	from, to []netip.Prefix
	unsaid   map[uint64]struct{} // connections that the plugin was never told of
}

// maxUnsaid bounds what is remembered of connections that are kept back. Beyond
// it the plugin hears of the end of some that it doesn't know, and skips that.
const maxUnsaid = 1 << 20

// set takes a new pattern; it reports whether what was kept back must be told.
func (o *only) set(p *wire.Pattern) (tell bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tell = o.pattern != nil
	o.pattern, o.from, o.to = p, blocks(p.GetFrom()), blocks(p.GetTo())
	if p == nil {
		o.unsaid = nil
	} else if o.unsaid == nil {
		o.unsaid = map[uint64]struct{}{}
	}
	return tell
}

// keeps says that a message is not to be sent. What the plugin knows already
// still ends and still changes its verdict there.
func (o *only) keeps(f *wire.Flow) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pattern == nil {
		return false
	}
	if o.matches(f) {
		delete(o.unsaid, f.GetId())
		return false
	}
	_, unsaid := o.unsaid[f.GetId()]
	switch f.GetKind() {
	case wire.Flow_NEW:
		if len(o.unsaid) < maxUnsaid {
			o.unsaid[f.GetId()] = struct{}{}
		}
		return true
	case wire.Flow_CLOSE:
		delete(o.unsaid, f.GetId())
		return unsaid
	case wire.Flow_VERDICT:
		return unsaid
	}
	return true
}

func (o *only) matches(f *wire.Flow) bool {
	p := o.pattern
	if p.GetProtocol() != 0 && p.GetProtocol() != f.GetProtocol() {
		return false
	}
	if port := p.GetPort(); port != 0 && port != f.GetLocalPort() && port != f.GetPeerPort() && port != f.GetBackendPort() {
		return false
	}
	if p.GetTrouble() && flow.Verdict(f.GetVerdict()) == flow.Allow && //nolint:gosec // four verdicts
		(f.GetCandidate() == uint32(flow.Allow) || f.GetCandidate() == 0) && !f.GetEnforced() {
		return false
	}
	from, to := plainAddr(f.GetLocalIp()), plainAddr(f.GetPeerIp())
	if flow.Direction(f.GetDirection()) == flow.Ingress { //nolint:gosec // three directions
		from, to = to, from
	}
	return inBlocks(o.from, from) && (inBlocks(o.to, to) || len(f.GetBackendIp()) > 0 && inBlocks(o.to, plainAddr(f.GetBackendIp())))
}

// plainAddr is invalid, and so within nothing, if there is none.
func plainAddr(b []byte) netip.Addr {
	ip, _ := wire.Addr(b)
	return ip
}

func blocks(list []*wire.Prefix) (out []netip.Prefix) {
	for _, m := range list {
		if ip, ok := wire.Addr(m.GetIp()); ok {
			if p, err := ip.Prefix(int(m.GetBits())); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// inBlocks: no blocks at all mean everybody.
func inBlocks(list []netip.Prefix, ip netip.Addr) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}
