// SPDX-License-Identifier: Apache-2.0

package serve

import "github.com/ebpol/kubectl-ebpol/pkg/wire"

// HopSink is a [Sink] that also takes the netfilter rules that packets of
// caught connections met.
type HopSink interface {
	Sink
	Hops(list []*wire.Hop)
}

var _ HopSink = (*Server)(nil)

// Hops implements [HopSink]. There are few: tracing is limited at its source.
func (s *Server) Hops(list []*wire.Hop) {
	for len(list) > 0 {
		n := min(len(list), hopsAFrame)
		s.out.send(&wire.Frame{Body: &wire.Frame_Hops{Hops: &wire.Hops{Hops: list[:n:n]}}})
		list = list[n:]
	}
}

const hopsAFrame = 128
