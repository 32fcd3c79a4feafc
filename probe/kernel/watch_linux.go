// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// young is how long a datagram that comes from the lower port may answer one
// that was sent before its endpoint was watched: no resolver waits longer. Who
// asked isn't known then, and it is judged as in mid-stream.
const young = 10 * time.Second

// Watch says whose the local addresses are: the whole list each time. An
// address that is watched but that no ruleset speaks of is allowed everything.
// Packets of an address that is neither watched nor in the ruleset pass uncounted.
func (k *Kernel) Watch(ids map[netip.Addr]ruleset.EndpointID) error {
	defer k.size.writes.Add(1)
	t := &k.tables
	n := len(ids)
	for ip, l := range t.local {
		if _, again := ids[ip]; !again && l.rule.ID != 0 {
			n++
		}
	}
	if most := int(t.maps.Endpoints.MaxEntries()); n > most {
		return fmt.Errorf("%d pod addresses are more than the %d that a node holds: select fewer pods for this session", n, most)
	}
	k.publish(ids) // before the programs know them: whose connections a scan finds is alive
	defer k.publish(nil)
	moved := false // of an address that may have been judged already
	for ip, l := range t.local {
		if _, still := ids[ip]; still || l.watched == 0 {
			continue
		}
		l.watched, l.young, moved = 0, 0, true
		if err := t.putLocal(ip, l); err != nil {
			return err
		}
	}
	for ip, id := range ids {
		l := t.at(ip)
		if l.watched == uint32(id) {
			continue
		}
		moved = moved || l.watched != 0 || l.rule.ID != 0
		l.watched = uint32(id)
		l.young = uint32((monotonic() + young) / time.Second)
		if err := t.putLocal(ip, l); err != nil {
			return err
		}
	}
	if moved {
		return k.bump() // the programs remember whose it was
	}
	return nil
}

func (t *tables) at(ip netip.Addr) *local {
	l := t.local[ip]
	if l == nil {
		l = &local{}
		t.local[ip] = l
	}
	return l
}

// unrule takes the ruleset's part of an address away.
func (t *tables) unrule(ip netip.Addr) error {
	l := t.local[ip]
	if l == nil {
		return nil
	}
	l.rule = ruleset.Endpoint{}
	return t.putLocal(ip, l)
}

// putLocal writes an address as it should be, or deletes it.
func (t *tables) putLocal(ip netip.Addr, l *local) error {
	if l.watched == 0 && l.rule.ID == 0 {
		delete(t.local, ip)
		if err := t.maps.Endpoints.Delete(addr(ip)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget pod address %s: %w", ip, err)
		}
		return nil
	}
	v := bpf.FlowEndpoint{Id: l.watched, YoungS: l.young}
	// An address that moved on to another pod is never judged as its former
	// owner: until the ruleset knows the new one, nothing isolates it.
	if v.Id == 0 || v.Id == uint32(l.rule.ID) {
		v.Id = uint32(l.rule.ID)
		if set := t.sets[l.rule.Ingress]; set != nil {
			v.Ingress = *set
		}
		if set := t.sets[l.rule.Egress]; set != nil {
			v.Egress = *set
		}
	}
	if err := t.maps.Endpoints.Put(addr(ip), &v); err != nil {
		return fmt.Errorf("write pod address %s: %w", ip, err)
	}
	return nil
}
