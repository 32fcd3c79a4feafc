// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// blamer says which netfilter rule dropped a packet. It traces where netfilter
// has dropped something, and in the node's namespace at once while one
// connection is waited for: a trace costs every packet there a little. Of the
// first drop the ruleset tells the rule if only one can be it, else the next
// packet does. Where nothing is dropped for a while the trace goes.
type blamer struct {
	node    uint64                            // inode of the node's namespace
	paths   func(inode uint64) (string, bool) // of namespaces of this node
	dial    nft.Dial
	session string
	unable  error // why no namespace can be traced; nil: it can
	sink    serve.Sink
	wg      sync.WaitGroup

	inferred   map[inferKey]inferred // of the goroutine that follows drops
	inferredAt time.Time

	mu     sync.Mutex
	on     bool
	closed bool
	catch  *pattern
	spaces map[uint64]*space // by inode
	ips    []netip.Addr
	ends   map[end]ending
	hops   []*wire.Hop
	failed map[uint64]bool // namespaces that can't be traced
	looked time.Time       // for namespaces that have gone
	idle   time.Duration   // how long one is traced in which nothing is dropped

	caught chan struct{} // holds one token while there are hops to tell, or ends that will be forgotten
	second chan struct{} // likewise when it is time to look after what is held
}

const (
	maxTraces  = 4096
	maxEnds    = 4096
	maxSpaces  = 16
	maxHops    = 4096
	endsFor    = 2 * time.Second
	spaceIdle  = time.Minute
	goneEvery  = 900 * time.Millisecond // each time that look is called, but no more
	hopsEvery  = 50 * time.Millisecond
	ruleWithin = 150 * time.Millisecond // the trace comes by another way than the drop
)

func newBlamer(node uint64, paths func(uint64) (string, bool), o *Options) *blamer {
	return &blamer{
		node: node, paths: paths, dial: o.Netlink, session: o.Session, spaces: map[uint64]*space{}, ends: map[end]ending{}, failed: map[uint64]bool{}, inferred: map[inferKey]inferred{},
		idle: spaceIdle, caught: make(chan struct{}, 1), second: make(chan struct{}, 1),
	}
}

// set follows the plugin's wishes, and says whether rules are asked for that
// weren't before.
func (b *blamer) set(o *wire.Options) (begun bool) {
	on := o.GetBlame() || o.GetCatch() != nil
	b.mu.Lock()
	b.catch = newPattern(o.GetCatch())
	was := b.on
	b.on = on && !b.closed
	var gone []*space
	if !b.on {
		gone = b.all()
	}
	for _, s := range b.spaces {
		_ = s.tracer.Datagrams(b.catch != nil) // closed, or traced when they are wanted
	}
	b.mu.Unlock()
	for _, s := range gone {
		_ = s.close() // goes with the process at the latest
	}
	if o.GetCatch() != nil {
		b.arm(b.node)
	}
	return on && !was
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
	if s := b.spaces[inode]; s != nil || !b.on || b.closed || !there || b.unable != nil {
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

// active says whether rules are traced, where they can be.
func (b *blamer) active() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.on && b.unable == nil
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
	name, err := tableName(b.session, os.Getpid())
	if err != nil {
		return nil, err
	}
	t, err := nft.Open(int(file.Fd()), name, staleTable)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(t.Datagrams(b.catch != nil), t.Watch(b.ips)); err != nil {
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

// tell hands on what was collected, and lets go of what nobody needs.
func (b *blamer) tell() {
	gone := b.gone()
	b.mu.Lock()
	hops := b.hops
	b.hops = nil
	now := time.Now()
	for k, e := range b.ends {
		if now.Sub(e.at) > endsFor {
			delete(b.ends, k)
		}
	}
	var idle, resting []*space
	for inode, s := range b.spaces {
		switch {
		case gone[inode]:
			idle = append(idle, s)
			delete(b.spaces, inode)
		case b.catch == nil && now.Sub(s.used) > b.idle:
			resting = append(resting, s)
		}
	}
	sink := b.sink
	b.mu.Unlock()
	for _, s := range resting {
		taken, _ := queues(s.path) // an engine's verdicts would be lost
		b.mu.Lock()
		switch {
		case taken:
			s.used = now
		case b.spaces[s.inode] == s:
			idle = append(idle, s)
			delete(b.spaces, s.inode)
		}
		b.mu.Unlock()
	}
	for _, s := range idle {
		_ = s.close()
	}
	if to, ok := sink.(serve.HopSink); ok && len(hops) > 0 {
		to.Hops(hops)
	}
}

// gone are the namespaces whose pod has ended: our sockets would keep them.
func (b *blamer) gone() map[uint64]bool {
	b.mu.Lock()
	if time.Since(b.looked) < goneEvery {
		b.mu.Unlock()
		return nil
	}
	b.looked = time.Now()
	var list []*space
	for _, s := range b.spaces {
		list = append(list, s)
	}
	b.mu.Unlock()
	gone := map[uint64]bool{}
	for _, s := range list {
		_, there := b.paths(s.inode) // takes the probe's lock
		gone[s.inode] = !there
		s.tracer.Tidy()
	}
	return gone
}

// run tells until stop is closed.
func (b *blamer) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-b.second:
		case <-b.caught:
			select { // more come with it
			case <-stop:
				return
			case <-time.After(hopsEvery):
			}
		}
		b.tell()
	}
}

// look is called each second. It doesn't wait: taking a table out may.
func (b *blamer) look() {
	b.mu.Lock()
	traced := len(b.spaces) > 0 || len(b.ends) > 0
	b.mu.Unlock()
	if traced {
		token(b.second)
	}
}

// token puts one in unless it is there.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *blamer) close() error {
	b.mu.Lock()
	b.closed, b.on = true, false
	list := b.all()
	b.mu.Unlock()
	var errs []error
	for _, s := range list {
		errs = append(errs, s.close())
	}
	b.wg.Wait()
	return errors.Join(errs...)
}
