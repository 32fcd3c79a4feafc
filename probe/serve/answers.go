// SPDX-License-Identifier: Apache-2.0

package serve

import "github.com/ebpol/kubectl-ebpol/pkg/wire"

// AnswerSink is a [Sink] that also takes DNS answers.
type AnswerSink interface {
	Sink
	Answers(list []*wire.Answer)
}

var _ AnswerSink = (*Server)(nil)

// Answers implements [AnswerSink]. The heads that they were read from are
// limited at their source.
func (s *Server) Answers(list []*wire.Answer) {
	for len(list) > 0 {
		n := min(len(list), answersAFrame)
		s.out.send(&wire.Frame{Body: &wire.Frame_Answers{Answers: &wire.Answers{Answers: list[:n:n]}}})
		list = list[n:]
	}
}

const answersAFrame = 256
