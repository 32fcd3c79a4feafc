// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// drops traces packets that the kernel frees. A nil *drops traces nothing.
type drops struct {
	maps    bpf.DropMaps
	vars    bpf.DropVariables
	trace   *ebpf.Program
	link    link.Link
	ring    *kernel.Ring
	reasons map[uint32]string
	bare    bool // the kernel has no reasons
	symbols symbols
	size    uint64     // of the maps, bytes: they take it as they are made
	mu      sync.Mutex // guards what follows
	spaces  map[uint32]bool
	told    map[bpf.DropDropKey]uint64

	blame *blamer // nil: no rule is named
	hooks hooks
	found evidence
	path  func(inode uint64) (string, bool) // of a namespace of this node
	pod   func(inode uint64) (id uint32, uid string)
	home  func(endpoint uint32) (inode uint64, ok bool)
	on    atomic.Bool
	quiet chan *wire.Flow // connections that may have been dropped without the kernel saying so
}

// openDrops loads and attaches the trace, switched off.
func openDrops(k *kernel.Kernel, o *Options, types *btf.Cache) (*drops, error) {
	spec, err := bpf.LoadDrop()
	if err != nil {
		return nil, err
	}
	files := system{o.Files}
	d := &drops{spaces: make(map[uint32]bool), told: make(map[bpf.DropDropKey]uint64), symbols: symbols{system: files}, quiet: make(chan *wire.Flow, maxQuiet)}
	d.reasons, d.bare, err = reasons(files, types)
	if err != nil {
		return nil, err
	}
	use, leave := bpf.DropProgEbpolDrop, bpf.DropProgEbpolDropBare
	if d.bare {
		use, leave = leave, use
	}
	delete(spec.Programs, leave)
	symbol := spec.Programs[bpf.DropProgEbpolSymbol]
	delete(spec.Programs, bpf.DropProgEbpolSymbol)
	spec.Maps[bpf.DropMapEndpoints].MaxEntries = k.Endpoints().MaxEntries()
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{bpf.DropMapEndpoints: k.Endpoints()}, Cache: types})
	if err != nil {
		return nil, fmt.Errorf("load the trace of drops: %w", err)
	}
	defer c.Close()
	if err := c.Assign(&d.maps); err != nil {
		return nil, err
	}
	if err := c.Assign(&d.vars); err != nil {
		return nil, errors.Join(err, d.maps.Close())
	}
	d.trace = c.DetachProgram(use)
	if d.symbols.cache = make(map[uint64]string); o.Symbols != symbolsListed {
		d.symbols.load(symbol, spec, types)
	}
	if d.link, err = link.AttachTracing(link.TracingOptions{Program: d.trace}); err != nil {
		return nil, errors.Join(fmt.Errorf("attach the trace of drops: %w", err), d.close())
	}
	if d.ring, err = kernel.OpenRing(d.maps.DropEvents, d.maps.Asleep, dropPace); err != nil {
		return nil, errors.Join(fmt.Errorf("open the samples of drops: %w", err), d.close())
	}
	for _, m := range []*ebpf.Map{d.maps.DropCounts, d.maps.DropEvents, d.maps.Spaces, d.maps.Losses} {
		d.size += kernel.Memlock(m)
	}
	return d, nil
}

// reasons are the running kernel's names; their numbers differ between
// kernels. bare: the tracepoint has no reason (before 5.17).
func reasons(files system, types *btf.Cache) (names map[uint32]string, bare bool, err error) {
	spec, err := files.types(types)
	if err != nil {
		return nil, false, err
	}
	var e *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &e); err != nil {
		return nil, true, nil //nolint:nilerr // an older kernel
	}
	names = make(map[uint32]string, len(e.Values))
	for _, v := range e.Values {
		name, ok := strings.CutPrefix(v.Name, "SKB_DROP_REASON_")
		if !ok {
			name = strings.TrimPrefix(v.Name, "SKB_")
		}
		names[uint32(v.Value)] = name
	}
	return names, false, nil
}

func (d *drops) reason(n uint32) string {
	if name, ok := d.reasons[n]; ok {
		return name
	}
	if d.bare {
		return ""
	}
	return fmt.Sprintf("reason %d", n)
}

// enable switches the trace on or off: off, a freed packet costs one load.
func (d *drops) enable(on bool) {
	if d == nil {
		return
	}
	v := uint32(0)
	if on {
		v = 1
	}
	_ = d.vars.Enabled.Set(v) // fails only for a wrong size
	d.on.Store(on)
}

// enabled says whether drops are to be told.
func (d *drops) enabled() bool { return d.on.Load() }

// watch says whose drops are told: those in these network namespaces.
func (d *drops) watch(inodes []uint64) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	want := make(map[uint32]bool, len(inodes))
	for _, i := range inodes {
		want[uint32(i)] = true
	}
	for i := range want {
		if !d.spaces[i] {
			if err := d.maps.Spaces.Put(i, uint8(1)); err != nil {
				return fmt.Errorf("trace drops in one more namespace: %w", err)
			}
			d.spaces[i] = true
		}
	}
	for i := range d.spaces {
		if !want[i] {
			if err := d.maps.Spaces.Delete(i); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("trace drops in one namespace less: %w", err)
			}
			delete(d.spaces, i)
		}
	}
	return nil
}

const maxStack = 8

func (d *drops) sample(e *bpf.DropDropEvent, skew time.Duration) *wire.Drop {
	w := &wire.Drop{
		TimeNs: int64(e.TimeNs) + skew.Nanoseconds(), Reason: e.Reason, ReasonName: d.reason(e.Reason), Location: d.symbols.name(e.Location),
		Device: unix.ByteSliceToString(asBytes(e.Device[:])), Ifindex: e.Ifindex, Netns: uint64(e.Netns), Protocol: uint32(e.Protocol),
		Src: kernel.Address(e.Source.Word).AsSlice(), Dst: kernel.Address(e.Dest.Word).AsSlice(), Sport: uint32(e.SourcePort), Dport: uint32(e.DestPort),
		TcpFlags: uint32(e.TcpFlags), Length: e.Length, Endpoint: e.Endpoint, Weight: e.Weight,
	}
	for _, at := range callers(e) {
		w.Stack = append(w.Stack, d.symbols.name(at))
	}
	return w
}

func asBytes(s []int8) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)) }

// callers are the frames above the location. The first ones are the tracer's
// and the freeing function's own.
func callers(e *bpf.DropDropEvent) []uint64 {
	n := min(int(max(e.StackBytes, 0))/8, len(e.Stack))
	frames := e.Stack[:n]
	for i, at := range frames {
		if at == e.Location {
			frames = frames[i+1:]
			break
		}
	}
	return frames[:min(len(frames), maxStack)]
}

// tell gives the exact totals that changed since they were last told, or all.
func (d *drops) tell(sink serve.Sink, all bool) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*wire.DropCount
	var key bpf.DropDropKey
	var each []bpf.DropDropCount
	it := d.maps.DropCounts.Iterate()
	for it.Next(&key, &each) {
		var sum uint64
		for i := range each {
			sum += each[i].Packets
		}
		if sum == d.told[key] && !all {
			continue
		}
		d.told[key] = sum
		list = append(list, &wire.DropCount{ReasonName: d.reason(key.Reason), Location: d.symbols.name(key.Location), Packets: sum, Endpoint: key.Endpoint})
	}
	if len(list) > 0 {
		sink.Drops(nil, list)
	}
}

// lost is how many samples found the ring full, and drops the table.
func (d *drops) lost() uint64 {
	if d == nil {
		return 0
	}
	var each []bpf.DropDropLosses
	if err := d.maps.Losses.Lookup(uint32(0), &each); err != nil {
		return 0
	}
	var sum uint64
	for i := range each {
		sum += each[i].RingFull + each[i].TableFull
	}
	return sum
}

func (d *drops) programs() []*ebpf.Program {
	if d == nil {
		return nil
	}
	return []*ebpf.Program{d.trace}
}

func (d *drops) mapBytes() uint64 {
	if d == nil {
		return 0
	}
	return d.size
}

// stop ends the trace and follow; what was counted can still be read.
func (d *drops) stop() error {
	if d == nil {
		return nil
	}
	var errs []error
	if d.link != nil {
		errs = append(errs, d.link.Close())
	}
	if d.ring != nil {
		errs = append(errs, d.ring.Close())
	}
	d.link, d.ring = nil, nil
	return errors.Join(errs...)
}

func (d *drops) close() error {
	if d == nil {
		return nil
	}
	return errors.Join(d.stop(), d.trace.Close(), d.symbols.close(), d.maps.Close())
}
