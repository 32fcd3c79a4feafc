// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// HopSink is a [Sink] that also takes the netfilter rules that packets of
// caught connections met.
type HopSink interface {
	Sink
	Hops(list []*wire.Hop)
}

// AnswerSink is a [Sink] that also takes DNS answers.
type AnswerSink interface {
	Sink
	Answers(list []*wire.Answer)
}

var (
	_ HopSink    = (*Server)(nil)
	_ AnswerSink = (*Server)(nil)
)

// Both are few: tracing, and the heads that answers are read from, are limited
// at their source. What remains is to keep frames small.
const (
	hopsAFrame    = 128
	answersAFrame = 256
)

// Hops implements [HopSink].
func (s *Server) Hops(list []*wire.Hop) {
	for part := range slices.Chunk(list, hopsAFrame) {
		s.out.send(&wire.Frame{Body: &wire.Frame_Hops{Hops: &wire.Hops{Hops: part}}})
	}
}

// Answers implements [AnswerSink].
func (s *Server) Answers(list []*wire.Answer) {
	for part := range slices.Chunk(list, answersAFrame) {
		s.out.send(&wire.Frame{Body: &wire.Frame_Answers{Answers: &wire.Answers{Answers: part}}})
	}
}
