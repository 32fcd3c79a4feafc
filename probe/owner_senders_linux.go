// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// senders is who sends datagrams. The place where each of them can be seen is on
// the way of all that any process of the machine sends, so its program hangs
// there only while pods speak UDP. Who begins to is told by programs on connect()
// and sendmsg() of UDP, which TCP doesn't meet.
type senders struct {
	prog  *ebpf.Program                     // of each that is sent; nil: the kernel can't (below 6.3)
	hooks map[ebpf.AttachType]*ebpf.Program // of connect() and sendmsg(); those that the kernel can
	hangs link.Link                         // of prog; nil: it rests
	begun bool                              // all hooks hang: who begins to speak is told
	since time.Time                         // when it was last known that somebody spoke
}

// restAfter is how long nobody must have spoken UDP before nobody listens for it.
const restAfter = time.Minute

// attachHooks puts the programs on connect() and sendmsg() to work. Without them,
// or without a cgroup of version 2, what fails there isn't told, and each that is
// sent is looked at all the time.
func (o *owners) attachHooks() error {
	s := &o.senders
	root := cgroupRoot()
	n := 0
	for at, p := range s.hooks {
		if root == "" {
			break
		}
		if l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: at, Program: p}); err == nil {
			o.links = append(o.links, l)
			n++
		}
	}
	s.begun = n == len(senderHooks)
	if !s.begun {
		o.listen()
	}
	if s.prog == nil {
		return o.sending(bpf.WhoWhoSendsSENDS_MISSING)
	}
	return nil
}

// senderHooks are the programs by where they hang, in every cgroup.
var senderHooks = map[ebpf.AttachType]string{
	ebpf.AttachCGroupInet4Connect: bpf.WhoProgEbpolWhoWants4,
	ebpf.AttachCGroupInet6Connect: bpf.WhoProgEbpolWhoWants6,
	ebpf.AttachCGroupUDP4Sendmsg:  bpf.WhoProgEbpolWhoSpeaks4,
	ebpf.AttachCGroupUDP6Sendmsg:  bpf.WhoProgEbpolWhoSpeaks6,
}

func (o *owners) sending(v bpf.WhoWhoSends) error {
	if err := o.vars.WhoSending.Set(uint32(v)); err != nil {
		return fmt.Errorf("switch the trace of datagrams: %w", err)
	}
	return nil
}

// listen looks at each that is sent from now on. If it can't be, the hooks tell
// whoever speaks once, as on kernels that have no such place.
func (o *owners) listen() {
	s := &o.senders
	s.since = time.Now()
	if s.hangs != nil || s.prog == nil {
		return
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: s.prog})
	if err != nil {
		_ = o.sending(bpf.WhoWhoSendsSENDS_MISSING) // else it is told each time, and tried again here
		return
	}
	if o.sending(bpf.WhoWhoSendsSENDS_HANGS) != nil {
		_ = l.Close()
		return
	}
	s.hangs = l
}

// again is when to look whether anybody still speaks; 0: nobody is listened for.
func (o *owners) again() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.senders.hangs == nil || !o.senders.begun {
		return 0
	}
	return restAfter / 2
}

// rest lets go of what nobody has needed for a while.
func (o *owners) rest() error {
	s := &o.senders
	if s.hangs == nil || !s.begun || time.Since(s.since) < restAfter {
		return nil
	}
	var spoke uint32
	if err := o.vars.WhoSpoke.Get(&spoke); err != nil {
		return err
	}
	if spoke != 0 {
		s.since = time.Now()
		return o.vars.WhoSpoke.Set(uint32(0))
	}
	return o.deafen()
}

// deafen ends listening. Who speaks next is told anew.
func (o *owners) deafen() error {
	s := &o.senders
	if s.hangs == nil {
		return nil
	}
	err := errors.Join(o.sending(bpf.WhoWhoSendsSENDS_RESTS), s.hangs.Close())
	s.hangs = nil
	var key uint64
	var keys []uint64
	var told [16]byte
	for all := o.maps.WhoSpeakers.Iterate(); all.Next(&key, &told); {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if e := o.maps.WhoSpeakers.Delete(key); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// speaks takes in who speaks UDP.
func (o *owners) speaks(e *bpf.WhoWhoEvent, k connKey, p *process) {
	if o.senders.begun {
		o.listen()
	}
	at := k.waiting(flow.UDP)
	if k.localPort == 0 {
		o.opens(e.Socket, at, p)
		return
	}
	o.settle(e.Socket, at)
	o.port(portKey{e.Netns, flow.UDP, e.LocalPort}, &portOwner{process: p, at: time.Now()})
}
