// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// endpoint is a pod that is to be watched.
type endpoint struct {
	id    uint32
	ips   []netip.Addr
	uid   string
	path  string // of its namespace, if it was given
	host  bool
	since time.Time // it was asked for
	eager time.Time // from when on it may be there any moment

	ns       *namespace // where it was found
	device   device
	attached *attachment
	err      error // why it isn't attached
	after    time.Duration
}

func (e *endpoint) detach() error {
	if e.attached == nil {
		return nil
	}
	a := e.attached
	e.attached = nil
	if err := a.detach(); err != nil {
		return fmt.Errorf("detach from %q: %w", e.device.name, err)
	}
	return nil
}

func (e *endpoint) state() *wire.EndpointState {
	s := &wire.EndpointState{Id: e.id, Attached: e.attached != nil}
	if e.attached != nil {
		s.Device, s.Hook, s.Others, s.AfterNs = e.device.name, e.attached.hook, e.attached.others, e.after.Nanoseconds()
	} else if e.err != nil {
		s.Error = e.err.Error()
	}
	return s
}

func (p *Probe) states() []*wire.EndpointState {
	all := make([]*wire.EndpointState, 0, len(p.endpoints))
	for _, e := range p.endpoints {
		all = append(all, e.state())
	}
	slices.SortFunc(all, func(a, b *wire.EndpointState) int { return int(a.GetId()) - int(b.GetId()) })
	return all
}

// What is wrong with an endpoint that can't be watched.
var (
	errNotFound = errors.New("no network namespace of this machine has the pod's address (yet)")
	errGone     = errors.New("the pod's network device has gone")
)

// SetEndpoints implements [serve.Probe].
func (p *Probe) SetEndpoints(list []*wire.Endpoint) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := make(map[uint32]bool, len(list))
	var errs []error
	for _, w := range list {
		e := &endpoint{id: w.GetId(), uid: w.GetUid(), path: w.GetNetns(), host: w.GetHostNetwork(), since: time.Now(), eager: time.Now(), err: errNotFound}
		for _, b := range w.GetIps() {
			ip, ok := netip.AddrFromSlice(b)
			if !ok {
				errs = append(errs, fmt.Errorf("endpoint %d: an address of %d bytes: use 4 or 16", e.id, len(b)))
				continue
			}
			e.ips = append(e.ips, ip.Unmap())
		}
		if e.id == 0 {
			errs = append(errs, errors.New("endpoint 0: the id stands for none"))
			continue
		}
		if e.host {
			e.err = errNoCgroup
		}
		wanted[e.id] = true
		if old := p.endpoints[e.id]; old != nil {
			if slices.Equal(old.ips, e.ips) && old.path == e.path && old.host == e.host && (!e.host || old.uid == e.uid) {
				continue
			}
			errs = append(errs, old.detach())
		}
		p.endpoints[e.id] = e
	}
	for id, e := range p.endpoints {
		if !wanted[id] {
			errs = append(errs, e.detach())
			delete(p.endpoints, id)
		}
	}
	p.search()
	if p.sink != nil {
		p.sink.EndpointStates(p.states())
	}
	select {
	case p.wake <- struct{}{}: // to search again soon for those not found
	default:
	}
	return errors.Join(errs...)
}

// search attaches to every pod whose namespace is found; callers hold the lock.
func (p *Probe) search() {
	var found []*endpoint
	var changed []*wire.EndpointState
	scanned := false
	for _, e := range p.endpoints {
		if e.attached != nil {
			continue
		}
		if e.host {
			if p.attachHost(e) {
				changed = append(changed, e.state())
			}
			continue
		}
		if e.path == "" && !scanned {
			scanned = true
			if err := p.finder.scan(); err != nil {
				e.err = err
			}
		}
		if p.locate(e) {
			found = append(found, e)
		}
	}
	if err := p.watch(found); err != nil {
		for _, e := range found {
			e.err = err
		}
		found = nil
	}
	if len(found) > 0 && !p.options.NoSeed {
		if err := p.seed(found); err != nil && p.sink != nil {
			p.sink.Notice(wire.Notice_WARN, "connections that were open before are known only by their next packet: "+err.Error())
		}
	}
	for _, e := range found {
		e.err = inside(e.ns.path, func() error {
			a, err := attach(p.kernel, e.ns.path, e.device, p.hook)
			e.attached = a
			return err
		})
		if errors.Is(e.err, fs.ErrNotExist) {
			e.err = errNotFound // the pod ended while it was entered
		}
		e.after = time.Since(e.since)
		changed = append(changed, e.state())
	}
	if len(changed) > 0 && p.sink != nil {
		p.sink.EndpointStates(changed)
	}
	p.sweep(found)
}

// sweep looks for what probes left in the netfilter of the node and of these
// pods that were killed.
// Nobody waits for it.
func (p *Probe) sweep(found []*endpoint) {
	paths := []string{p.nodePath()}
	for _, e := range found {
		if e.attached != nil && e.ns != nil {
			paths = append(paths, e.ns.path)
		}
	}
	if p.sink != nil && !p.closed && p.blame.active() {
		p.wg.Go(func() { p.blame.sweep(paths) })
	}
}

func (p *Probe) locate(e *endpoint) bool {
	if e.path != "" {
		inode, err := inodeOf(e.path)
		if err == nil {
			e.ns, err = look(inode, e.path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = errNotFound
		}
		if err != nil {
			e.err = err
			return false
		}
	} else {
		e.ns = p.finder.find(e.ips, e.uid)
	}
	if e.ns == nil {
		e.err = errNotFound
		return false
	}
	for _, ip := range e.ips {
		if d, ok := e.ns.addresses[ip]; ok {
			e.device = d
			return true
		}
	}
	e.err = errNotFound
	return false
}

// watch tells the programs which addresses are whose: of those that are
// attached and of those that are about to be.
func (p *Probe) watch(found []*endpoint) error {
	ids := make(map[netip.Addr]ruleset.EndpointID)
	var spaces []uint64
	homes := make(map[uint32]uint64)
	add := func(e *endpoint) {
		homes[e.id] = e.ns.inode
		for _, ip := range e.ips {
			ids[ip] = ruleset.EndpointID(e.id)
		}
		spaces = append(spaces, e.ns.inode)
	}
	for _, e := range p.endpoints {
		switch {
		case e.attached == nil:
		case e.host: // the node's address is nobody's, its sockets are also the pod's
			homes[e.id] = p.finder.own
		default:
			add(e)
		}
	}
	for _, e := range found {
		add(e)
	}
	if err := p.kernel.Watch(ids); err != nil {
		return err
	}
	if err := p.owners.watch(homes); err != nil && p.sink != nil {
		p.sink.Notice(wire.Notice_WARN, "which processes have the pods' sockets is known in part only: "+err.Error())
	}
	p.blame.watch(slices.Collect(maps.Keys(ids)))
	return p.drops.watch(append(spaces, p.finder.own))
}

// checkGone finds devices that went away; callers hold the lock.
func (p *Probe) checkGone() {
	var changed []*wire.EndpointState
	for _, e := range p.endpoints {
		if e.attached == nil || !e.attached.gone() {
			continue
		}
		_ = e.detach() // there is nothing left to detach from
		e.err, e.since, e.eager = errGone, time.Now(), time.Now()
		changed = append(changed, e.state())
	}
	if len(changed) == 0 {
		return
	}
	if err := p.watch(nil); err != nil {
		p.sink.Notice(wire.Notice_WARN, err.Error())
	}
	p.sink.EndpointStates(changed)
}

// A pod's address comes a moment before or after we hear of the pod.
const (
	searchSoon  = 50 * time.Millisecond
	searchOften = 250 * time.Millisecond
	searchIdle  = 2 * time.Second
)

// nextSearch is how long to wait before looking for missing pods again.
func (p *Probe) nextSearch() time.Duration {
	next := time.Hour
	for _, e := range p.endpoints {
		if e.attached != nil {
			continue
		}
		switch waited := time.Since(e.eager); {
		case waited < 3*time.Second:
			next = min(next, searchSoon)
		case waited < time.Minute:
			next = min(next, searchOften)
		default:
			next = min(next, searchIdle)
		}
	}
	return next
}

// hurry is called when a device of the node changed: a pod is coming or going.
func (p *Probe) hurry() {
	for _, e := range p.endpoints {
		e.eager = time.Now()
	}
	p.checkGone()
}

// watchLinks signals changes of the node's devices until stop is closed.
// Without them pods are found a little later.
func watchLinks(stop <-chan struct{}) <-chan struct{} {
	signal := make(chan struct{}, 1)
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(updates, stop, netlink.LinkSubscribeOptions{ErrorCallback: func(error) {}}); err != nil {
		return signal
	}
	go func() {
		for range updates { // closed after stop
			select {
			case signal <- struct{}{}:
			default:
			}
		}
	}()
	return signal
}
