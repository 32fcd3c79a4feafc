// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// sourceKey finds rows by who opened the connection, where a service stands
// between the ends: the source is all that both sides see alike.
type sourceKey struct {
	source    [16]byte
	port      uint16
	protocol  flow.Protocol
	direction flow.Direction // of the row
}

func keyFrom(p flow.Protocol, d flow.Direction, source netip.AddrPort) sourceKey {
	return sourceKey{source.Addr().As16(), source.Port(), p, d}
}

func (r *row) sourceKey() sourceKey {
	if r.direction == flow.Ingress {
		return keyFrom(r.protocol, r.direction, r.peer)
	}
	return keyFrom(r.protocol, r.direction, r.local)
}

// joins finds the two rows of one connection. Rows stay in it as long as the
// store has them, closed ones too: one node may tell of the end of a
// connection before the other tells of its beginning.
type joins struct {
	exact  rowIndex[tupleKey]
	source rowIndex[sourceKey]
	// masked is when a node last opened a connection to an endpoint: it may
	// have been for a pod of its own whose address it hid.
	masked map[maskedKey]time.Time
}

type maskedKey struct {
	node  string
	local netip.AddrPort
}

const maxMasked = 20_000

func (j *joins) init() {
	j.exact.init((*row).key)
	j.source.init((*row).sourceKey)
	j.masked = map[maskedKey]time.Time{}
}

// apart is how far apart the two ends of a connection may begin, clocks of
// nodes being what they are.
const apart = 5 * time.Second

// add enters a row and joins it with its other end.
func (s *Store) join(r *row) {
	j := &s.joins
	if r.direction == flow.Ingress && r.peerWho.name != "" && r.peerWho.pod == "" {
		if len(j.masked) >= maxMasked {
			clear(j.masked)
		}
		j.masked[maskedKey{r.peerWho.name, r.local}] = s.now
	}
	j.exact.put(r)
	j.source.put(r)
	far := j.exact.get(keyBetween(r.protocol, r.peer, r.local))
	if far == nil || far.direction == r.direction {
		k := r.sourceKey()
		k.direction = flow.Ingress + flow.Egress - k.direction
		far = j.source.get(k)
		if far == nil || !s.behind(r, far) && !s.behind(far, r) {
			return
		}
	}
	if !r.preex && !far.preex && r.since.Sub(far.since).Abs() > apart {
		return
	}
	r.far, r.farSeq, far.far, far.farSeq = far, far.seq, r, r.seq
	for _, e := range [2]*row{r, far} {
		if e.viaService() && !e.backend.IsValid() {
			e.backend, e.backendWho = e.other().local, e.other().localWho
			s.sums.answers(e)
			s.rows.reworded(e)
		}
	}
}

// other is the row of the connection's other end; nil: it isn't watched, or
// was let go.
func (r *row) other() *row {
	if r.far != nil && r.far.seq == r.farSeq {
		return r.far
	}
	return nil
}

// viaService says whether r's source asked for a service's address. The kernel
// looks that up only where it matters for a verdict.
func (r *row) viaService() bool {
	return r.direction == flow.Egress && (r.service || r.peerWho.service != "")
}

// behind says whether the far row is at a backend of the service that r's
// source asked for.
func (s *Store) behind(r, far *row) bool {
	if r.direction != flow.Egress || far.direction != flow.Ingress {
		return false
	}
	if r.backend.IsValid() {
		return r.backend == far.local
	}
	for _, b := range s.backends(r) {
		if b == far.local {
			return true
		}
	}
	return false
}

// backends are those that the service which r's source asked for may pick;
// none if it isn't known.
func (s *Store) backends(r *row) []netip.AddrPort {
	w := s.names.ledger.World()
	if w == nil || r.peerWho.service == "" {
		return nil
	}
	svc := w.Services[r.peerWho.service]
	if svc == nil {
		return nil
	}
	var out []netip.AddrPort
	for _, p := range svc.Ports {
		if p.Port != r.peer.Port() || p.Protocol != r.protocol {
			continue
		}
		for _, b := range p.Backends {
			out = append(out, netip.AddrPortFrom(b.IP, b.Port))
		}
	}
	return out
}

// unjoin takes out a row that the store lets go.
func (s *Store) unjoin(r *row) {
	j := &s.joins
	j.exact.drop(r)
	j.source.drop(r)
	if far := r.other(); far != nil && far.other() == r {
		far.far = nil
	}
}

// rowsOf are the known rows of the connection that a packet is of, at either
// end, whichever way it went, before or after the address translation of a
// service.
func (s *Store) rowsOf(t flow.Tuple) []*row {
	var out []*row
	add := func(r *row) {
		if r == nil {
			return
		}
		for _, have := range out {
			if have == r {
				return
			}
		}
		out = append(out, r)
		if far := r.other(); far != nil {
			out = append(out, far)
		}
	}
	j := &s.joins
	add(j.exact.get(keyBetween(t.Protocol, t.Source, t.Destination)))
	add(j.exact.get(keyBetween(t.Protocol, t.Destination, t.Source)))
	if len(out) > 0 {
		return out
	}
	for _, way := range [2]flow.Tuple{t, t.Reverse()} {
		r := j.source.get(keyFrom(t.Protocol, flow.Egress, way.Source))
		if r == nil || !r.viaService() {
			continue
		}
		for _, b := range s.backends(r) {
			if b == way.Destination {
				add(r)
			}
		}
	}
	return out
}
