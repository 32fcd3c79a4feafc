// SPDX-License-Identifier: Apache-2.0

package session

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// asked is what the probes are asked to send. It may change while they run.
type asked struct {
	mu      sync.Mutex
	now     *wire.Options
	version int // from 1, so that a stream that has sent nothing is behind
}

func (a *asked) init(o *wire.Options) { a.now, a.version = o, 1 }

func (a *asked) get() (*wire.Options, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now, a.version
}

// SetOptions changes what the probes send, of all nodes, as soon as they can
// be told. change gets a copy of what they were asked for so far; if it leaves
// it as it is nobody is told anything.
func (l *Live) SetOptions(change func(*wire.Options)) {
	l.asked.mu.Lock()
	next := proto.CloneOf(l.asked.now)
	change(next)
	if proto.Equal(next, l.asked.now) {
		l.asked.mu.Unlock()
		return
	}
	l.asked.now = next
	l.asked.version++
	l.asked.mu.Unlock()
	l.wakeAll()
}
