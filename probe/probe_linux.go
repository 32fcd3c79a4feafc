// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// Options of a probe; the zero value is what the pod uses.
type Options struct {
	Kernel kernel.Options
	// Hook is "tcx" or "clsact"; empty: the first of them that works.
	Hook string
	// Session names what is made outside of this process; empty: nobody's.
	Session string
	// NoDrops leaves the tracing of drops out.
	NoDrops bool
	// Node is the path of the node's network namespace; empty: this process's own.
	Node string
	// Symbols is "listed" to name the kernel's functions by /proc/kallsyms alone;
	// empty: by the kernel itself where it can.
	Symbols string
	// Files is the root folder that the kernel's types and symbols are read from;
	// nil: this machine's.
	Files fs.FS
	// Netlink is how netfilter is spoken to; nil: as ever.
	Netlink nft.Dial
	// NoSeed leaves out the search for connections that are open already.
	NoSeed bool
}

const symbolsListed = "listed"

// Probe is one node's kernel side. Make it with [Open].
type Probe struct {
	options  Options
	only     only
	hook     string
	kernel   *kernel.Kernel
	events   *kernel.Events
	finder   *finder
	drops    *drops  // nil if the kernel can't, or it was left out
	owners   *owners // likewise
	sniffer  *sniffer
	backends *backends
	blame    *blamer
	features []*wire.Feature
	meter    *meter

	unsentSums map[unsentCount]uint64 // so far; of followUnsent's goroutine

	sink serve.Sink
	stop chan struct{}
	wake chan struct{}
	seen chan struct{} // holds one token if verdicts have changed
	wg   sync.WaitGroup

	life sync.RWMutex // held to read while the kernel's objects are asked from outside, to write when they go

	mu        sync.Mutex // guards what follows and the tables of kernel
	endpoints map[uint32]*endpoint
	tick      time.Duration
	closed    bool

	scanning sync.Mutex // one scan at a time; rules don't wait for it
}

var _ serve.Probe = (*Probe)(nil)

// Open loads the programs and attaches nothing yet but the trace of drops,
// which has no addresses to look for.
func Open(o Options) (*Probe, error) {
	features, hook, err := detect(o.Hook)
	if err != nil {
		return nil, err
	}
	p := &Probe{
		options: o, hook: hook, features: features, tick: time.Second, endpoints: make(map[uint32]*endpoint), unsentSums: make(map[unsentCount]uint64),
		stop: make(chan struct{}), wake: make(chan struct{}, 1), seen: make(chan struct{}, 1),
	}
	if p.finder, err = newFinder(); err != nil {
		return nil, err
	}
	if o.Node != "" {
		if p.finder.own, err = inodeOf(o.Node); err != nil {
			return nil, err
		}
	}
	p.blame = newBlamer(p.finder.own, p.pathOf, &p.options)
	p.features = append(p.features, p.blame.feature(p.nodePath()))
	if p.kernel, err = kernel.Open(o.Kernel); err != nil {
		return nil, err
	}
	types := btf.NewCache() // let go at the end: megabytes
	if !o.NoDrops {
		p.drops, err = openDrops(p.kernel, &p.options, types)
		p.features = append(p.features, dropFeatures(p.drops, err)...)
	}
	if p.drops != nil {
		p.drops.blame, p.drops.path, p.drops.pod, p.drops.home = p.blame, p.pathOf, p.podIn, p.homeOf
	}
	if p.events, err = p.kernel.Events(); err != nil {
		return nil, errors.Join(err, p.drops.close(), p.kernel.Close())
	}
	p.owners, err = openOwners(system{o.Files}, types)
	p.features = append(p.features, ownerFeature(p.owners, err))
	p.backends = newBackends(p.nodePath())
	p.sniffer = newSniffer()
	p.events.Heads(p.sniffer.head)
	p.meter = newMeter(p.programs())
	return p, nil
}

func (p *Probe) programs() []*ebpf.Program {
	in, out, _ := p.kernel.Programs(true)
	return append(append([]*ebpf.Program{in, out}, p.drops.programs()...), p.owners.programs()...)
}

// Facts implements [serve.Probe].
func (p *Probe) Facts() serve.Facts {
	return serve.Facts{Kernel: release(), BootOffset: time.Duration(time.Now().UnixNano()) - kernel.Boottime(), Features: p.features}
}

// Start implements [serve.Probe].
func (p *Probe) Start(sink serve.Sink) error {
	p.sink, p.blame.sink = sink, sink
	p.wg.Go(p.follow)
	p.wg.Go(func() { p.blame.run(p.stop) })
	p.wg.Go(p.work)
	if p.owners != nil {
		p.wg.Go(p.owners.follow)
		p.wg.Go(p.followUnsent)
	}
	if p.drops != nil {
		ring := p.drops.ring
		p.wg.Go(func() { p.drops.follow(sink, ring) })
		p.wg.Go(func() { p.drops.followQuiet(sink, p.stop) })
	}
	return nil
}

// follow turns events into samples for the sink.
func (p *Probe) follow() {
	var flows []*wire.Flow
	var samples []*wire.Drop
	flush := func() (again time.Duration) {
		if len(flows) > 0 {
			p.sink.Flows(flows)
			flows = nil
		}
		if len(samples) > 0 {
			p.sink.Drops(samples, nil)
			samples = nil
		}
		p.owners.poll()
		return p.sniffer.flush(p.sink)
	}
	err := p.events.Follow(func(r *kernel.Record) {
		if r.Kind == kernel.Dropped {
			samples = append(samples, leaseDrop(r))
		} else {
			if f := p.flow(r); !p.only.keeps(f) {
				flows = append(flows, f)
			}
		}
		if len(flows)+len(samples) >= 256 {
			flush()
		}
	}, flush)
	if err != nil {
		p.sink.Notice(wire.Notice_WARN, "events have stopped: "+err.Error())
	}
}

// Apply implements [serve.Probe]. What became of connections that are open is
// told at once, too, but nobody waits for it: there may be a hundred thousand.
func (p *Probe) Apply(d *ruleset.Delta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.kernel.Apply(d); err != nil {
		return err
	}
	select {
	case p.seen <- struct{}{}:
	default:
	}
	return nil
}

// Generation implements [serve.Probe].
func (p *Probe) Generation() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kernel.Generation()
}

// SetLease implements [serve.Probe].
func (p *Probe) SetLease(d time.Duration) error {
	p.life.RLock()
	defer p.life.RUnlock()
	return p.kernel.SetLease(d)
}

// SetOptions implements [serve.Probe].
func (p *Probe) SetOptions(o *wire.Options) error {
	p.mu.Lock()
	p.tick = time.Second
	if o.GetTickNs() > 0 {
		p.tick = max(time.Duration(o.GetTickNs()), 100*time.Millisecond)
	}
	err := errors.Join(p.kernel.ReadHeads(o.GetNames()), p.owners.enable(o.GetOwners()))
	p.sniffer.enable(o.GetNames())
	p.mu.Unlock()
	if p.only.set(o.GetOnly()) && p.sink != nil {
		p.scan(true) // what was kept back so far
	}
	p.drops.enable(o.GetDrops())
	if p.blame.set(o) {
		p.mu.Lock()
		p.sweep(slices.Collect(maps.Values(p.endpoints)))
		p.mu.Unlock()
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return err
}

// Resend implements [serve.Probe].
func (p *Probe) Resend() {
	p.mu.Lock()
	states := p.states()
	p.mu.Unlock()
	p.sink.EndpointStates(states)
	p.scan(true)
	p.drops.tell(p.sink, true)
}

// Loss implements [serve.Probe].
func (p *Probe) Loss() *wire.Loss {
	c := p.counts()
	p.life.RLock()
	defer p.life.RUnlock()
	return &wire.Loss{Ring: c.RingFull + p.drops.lost(), Table: c.TableFull, UntrackedPackets: c.UntrackedPackets, UntrackedBytes: c.UntrackedBytes}
}

// EnforcedPackets implements [serve.Probe].
func (p *Probe) EnforcedPackets() uint64 { return p.counts().EnforcedPackets }

// counts is all zero once the probe is closed.
func (p *Probe) counts() kernel.Counts {
	p.life.RLock()
	defer p.life.RUnlock()
	c, err := p.kernel.Counts()
	if err != nil {
		return kernel.Counts{}
	}
	return c
}

// Close implements [serve.Probe].
func (p *Probe) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.stop)
	p.mu.Unlock()
	err := errors.Join(p.kernel.SetLease(0), p.events.Close(), p.drops.stop(), p.owners.stop(), p.blame.close())
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life.Lock()
	defer p.life.Unlock()
	for _, e := range p.endpoints {
		err = errors.Join(err, e.detach())
	}
	return errors.Join(err, p.drops.close(), p.owners.close(), p.kernel.Close())
}
