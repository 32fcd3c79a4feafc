// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// blamer says which netfilter rule dropped a packet. It traces in the node's
// namespace, and in a pod's own once netfilter has dropped something there.
type blamer struct {
	node  uint64                            // inode of the node's namespace
	paths func(inode uint64) (string, bool) // of namespaces of this node
	sink  serve.Sink
	wg    sync.WaitGroup

	mu     sync.Mutex
	on     bool
	closed bool
	catch  *pattern
	spaces map[uint64]*space // by inode
	ips    []netip.Addr
	ends   map[end]ending
	hops   []*wire.Hop
	failed map[uint64]bool // namespaces that can't be traced
}

// space is one namespace that is traced.
type space struct {
	inode   uint64
	path    string
	tracer  *nft.Tracer
	traces  map[uint32]*trace // newest ones, by the kernel's number
	devices map[uint32]string
	used    time.Time
}

// trace is what was said of one packet so far.
type trace struct {
	packet nft.Packet
	hook   string
	caught bool
}

// end is a packet that went no further, as it then was.
type end struct {
	netns  uint64
	packet nft.Packet
}

type ending struct {
	rule *wire.NftRule
	at   time.Time
}

const (
	maxTraces  = 4096
	maxEnds    = 4096
	maxSpaces  = 16
	maxHops    = 4096
	endsFor    = 2 * time.Second
	spaceIdle  = time.Minute
	hopsEvery  = 50 * time.Millisecond
	ruleWithin = 150 * time.Millisecond // the trace comes by another way than the drop
)

func newBlamer(node uint64, paths func(uint64) (string, bool)) *blamer {
	return &blamer{node: node, paths: paths, spaces: map[uint64]*space{}, ends: map[end]ending{}, failed: map[uint64]bool{}}
}

// set follows the plugin's wishes.
func (b *blamer) set(o *wire.Options) {
	on := o.GetBlame() || o.GetCatch() != nil
	b.mu.Lock()
	b.catch = newPattern(o.GetCatch())
	was := b.on
	b.on = on && !b.closed
	var gone []*space
	if !b.on {
		gone = b.all()
	}
	b.mu.Unlock()
	for _, s := range gone {
		_ = s.tracer.Close() // goes with the process at the latest
	}
	if on && !was {
		b.arm(b.node)
	}
}

// all takes the spaces out; callers hold the lock and close them.
func (b *blamer) all() (list []*space) {
	for inode, s := range b.spaces {
		list = append(list, s)
		delete(b.spaces, inode)
	}
	return list
}

// arm starts to trace in a namespace. What is missing is told once.
func (b *blamer) arm(inode uint64) *space {
	if s, done := b.armed(inode); done {
		return s
	}
	path, there := b.paths(inode) // takes the probe's lock, under which watch is called
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.spaces[inode]; s != nil || !b.on || b.closed || !there {
		return s
	}
	s, err := b.open(inode, path)
	if err != nil {
		b.failed[inode] = true
		if !errors.Is(err, os.ErrNotExist) && b.sink != nil { // it went while it was entered
			b.sink.Notice(wire.Notice_WARN, "netfilter's drops don't name their rule: "+err.Error())
		}
		return nil
	}
	b.spaces[inode] = s
	b.wg.Go(func() { b.follow(s) })
	return s
}

// armed says whether there is nothing to do about a namespace.
func (b *blamer) armed(inode uint64) (*space, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.spaces[inode]
	return s, s != nil || !b.on || b.closed || b.failed[inode] || len(b.spaces) >= maxSpaces
}

func (b *blamer) open(inode uint64, path string) (*space, error) {
	if err := traceIsQuiet(path); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	name, err := processName(os.Getpid())
	if err != nil {
		return nil, err
	}
	t, err := nft.Open(int(file.Fd()), name, func(old string) bool { return staleProcess(old) })
	if err != nil {
		return nil, err
	}
	if err := t.Watch(b.ips); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return &space{inode: inode, path: path, tracer: t, traces: map[uint32]*trace{}, devices: map[uint32]string{}, used: time.Now()}, nil
}

// watch says whose packets are traced, the whole list each time.
func (b *blamer) watch(ips []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ips = ips
	for _, s := range b.spaces {
		if err := s.tracer.Watch(ips); err != nil && !errors.Is(err, os.ErrClosed) && b.sink != nil {
			b.sink.Notice(wire.Notice_WARN, err.Error())
		}
	}
	clear(b.failed)
}

func (b *blamer) follow(s *space) {
	err := s.tracer.Follow(func(step *nft.Step) { b.step(s, step) })
	b.mu.Lock()
	if b.spaces[s.inode] == s {
		delete(b.spaces, s.inode)
	}
	if err != nil {
		b.failed[s.inode] = true
	}
	told := b.sink
	b.mu.Unlock()
	if err != nil && told != nil {
		told.Notice(wire.Notice_WARN, err.Error())
	}
}

// step takes one message. Only the tracer's goroutine calls it.
func (b *blamer) step(s *space, step *nft.Step) {
	if step.Ours() {
		if step.Packet.Source.IsValid() {
			b.first(s, step)
		}
		return
	}
	t := b.first(s, step)
	caught := t != nil && t.caught
	if t == nil || step.Returned || !step.Ended && !caught {
		return
	}
	rule := s.rule(step)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if step.Ended {
		s.used = now
		if len(b.ends) >= maxEnds {
			clear(b.ends)
		}
		b.ends[end{s.inode, t.packet}] = ending{rule, now}
	}
	if caught && len(b.hops) < maxHops {
		b.hops = append(b.hops, &wire.Hop{
			TimeNs: kernel.Boottime().Nanoseconds(), Trace: step.Trace, Netns: s.inode, Protocol: uint32(t.packet.Protocol),
			Src: t.packet.Source.AsSlice(), Dst: t.packet.Destination.AsSlice(), Sport: uint32(t.packet.SourcePort), Dport: uint32(t.packet.DestinationPort),
			Rule: rule, Hook: t.hook, DeviceIn: s.device(step.In), DeviceOut: s.device(step.Out),
		})
	}
}

// first finds what is known of the step's packet, and notes how it looks now.
func (b *blamer) first(s *space, step *nft.Step) *trace {
	t := s.traces[step.Trace]
	if t == nil {
		if !step.Packet.Source.IsValid() {
			return nil // its beginning was lost
		}
		if len(s.traces) >= maxTraces {
			clear(s.traces)
		}
		t = &trace{}
		s.traces[step.Trace] = t
	}
	if step.Packet.Source.IsValid() {
		t.packet, t.hook = step.Packet, s.tracer.Hook(step)
		if !t.caught {
			b.mu.Lock()
			t.caught = b.catch.matches(&t.packet)
			b.mu.Unlock()
		}
	}
	return t
}

func (s *space) rule(step *nft.Step) *wire.NftRule {
	r := s.tracer.Rule(step)
	return &wire.NftRule{
		Family: step.Family.String(), Table: wire.Clean(step.Table, 256), Chain: wire.Clean(step.Chain, 256), Handle: step.Handle,
		Verdict: wire.Clean(step.Verdict, 256), Comment: wire.Clean(r.Comment, 400), Text: wire.Clean(r.Text, 400),
	}
}

// byNetfilter says whether a sample is of a packet that a rule may have ended.
func byNetfilter(d *wire.Drop) bool {
	switch d.GetReasonName() {
	case "NETFILTER_DROP":
		return true
	case "", "NOT_SPECIFIED":
	default:
		return false
	}
	for _, f := range append([]string{d.GetLocation()}, d.GetStack()...) {
		for _, by := range []string{"nf_hook_slow", "nft_do_chain", "nfqnl_", "nf_reinject"} {
			if strings.HasPrefix(f, by) {
				return true
			}
		}
	}
	return false
}

// explain adds the rule that ended a packet. It says false if it may still
// become known, and traces what else its sender sends.
func (b *blamer) explain(d *wire.Drop) bool {
	b.mu.Lock()
	on := b.on
	b.mu.Unlock()
	if !on || !byNetfilter(d) {
		return true
	}
	s := b.arm(d.GetNetns())
	if s == nil {
		return true
	}
	t, ok := d.Tuple()
	if !ok {
		return true
	}
	p := nft.Packet{
		Protocol: uint8(t.Protocol), Source: t.Source.Addr().Unmap(), Destination: t.Destination.Addr().Unmap(),
		SourcePort: t.Source.Port(), DestinationPort: t.Destination.Port(),
	}
	b.mu.Lock()
	found, ok := b.ends[end{s.inode, p}]
	b.mu.Unlock()
	if ok && time.Since(found.at) < endsFor {
		d.Rule = found.rule
		return true
	}
	_ = s.tracer.Want(p.Source) // without it only fewer drops name their rule
	return false
}

// tell hands on what was collected, and lets go of what nobody needs.
func (b *blamer) tell() {
	b.mu.Lock()
	hops := b.hops
	b.hops = nil
	now := time.Now()
	for k, e := range b.ends {
		if now.Sub(e.at) > endsFor {
			delete(b.ends, k)
		}
	}
	var idle []*space
	for inode, s := range b.spaces {
		if inode != b.node && now.Sub(s.used) > spaceIdle {
			idle = append(idle, s)
			delete(b.spaces, inode)
		}
	}
	sink := b.sink
	b.mu.Unlock()
	for _, s := range idle {
		_ = s.tracer.Close()
	}
	if to, ok := sink.(serve.HopSink); ok && len(hops) > 0 {
		to.Hops(hops)
	}
}

// run tells until stop is closed.
func (b *blamer) run(stop <-chan struct{}) {
	tick := time.NewTicker(hopsEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			b.tell()
		}
	}
}

func (b *blamer) close() error {
	b.mu.Lock()
	b.closed, b.on = true, false
	list := b.all()
	b.mu.Unlock()
	var errs []error
	for _, s := range list {
		errs = append(errs, s.tracer.Close())
	}
	b.wg.Wait()
	return errors.Join(errs...)
}

// traceIsQuiet refuses where the old iptables has tables and the kernel writes
// what its rules trace into its log, which is other people's.
func traceIsQuiet(path string) error {
	return inside(path, func() error {
		tables := legacyTables()
		if len(tables) == 0 {
			return nil
		}
		for _, family := range []string{"2", "10"} {
			logger, err := os.ReadFile("/proc/sys/net/netfilter/nf_log/" + family)
			if err == nil && strings.TrimSpace(string(logger)) != "NONE" {
				return fmt.Errorf("iptables-legacy is in use (tables %s), whose rules only the kernel's log can tell: move them to iptables-nft, or see iptables-legacy-save -c on the node",
					strings.Join(tables, ", "))
			}
		}
		return nil
	})
}
