// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Options are sizes; zero values take the defaults of bpf/lib/maps.h.
type Options struct {
	Conns4, Conns6 uint32 // connections that are tracked at once, besides those with a seat
	Seats          uint32 // at most 4,096
	Ring           uint32 // bytes, a power of two of at least a page; default 1 MiB
	Matches        uint32
	Heads          uint32 // payload heads that each CPU reads in a second; default 2,000
}

// Kernel holds the programs and maps. Make one with [Open].
type Kernel struct {
	objects objects
	bare    *bpf.FlowPrograms // for devices without a link header; loaded when first asked for
	spec    *ebpf.CollectionSpec
	noAgain error // why connections can't be judged again without a packet
	again   again
	seats   seats
	tables  tables
	scanner scanner
	hosts   hosts
	alive   alive
	epoch   uint32
	seeds   uint64                 // connections numbered here; the programs' numbers end in a processor's
	events  atomic.Pointer[Events] // what was opened to read the ring
	stale   atomic.Bool            // verdicts of silent connections are of an older ruleset
	size    mapSize
	closed  bool
}

type objects struct {
	bpf.FlowPrograms
	global
}

// global is what both variants of the programs share.
type global struct {
	bpf.FlowMaps
	bpf.FlowVariables
	Data *ebpf.Map `ebpf:".data"`
	Bss  *ebpf.Map `ebpf:".bss"`
}

// Open loads everything. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
func Open(o Options) (*Kernel, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	spec, err := bpf.LoadFlow()
	if err != nil {
		return nil, err
	}
	for name, size := range map[string]uint32{
		bpf.FlowMapConns4: o.Conns4, bpf.FlowMapConns6: o.Conns6, bpf.FlowMapSeats4: o.Seats, bpf.FlowMapEvents: o.Ring, bpf.FlowMapMatches: o.Matches,
	} {
		if size != 0 {
			spec.Maps[name].MaxEntries = size
		}
	}
	if err := spec.Variables[bpf.FlowVarWakeAbove].Set(spec.Maps[bpf.FlowMapEvents].MaxEntries / wakeFraction); err != nil {
		return nil, err
	}
	if o.Heads != 0 {
		if err := spec.Variables[bpf.FlowVarHeadsPerSecond].Set(o.Heads); err != nil {
			return nil, err
		}
	}
	k := &Kernel{spec: spec, epoch: 1, hosts: hosts{alive: make(map[ruleset.EndpointID]bool)}}
	k.publish(nil)
	if err := k.load(); err != nil {
		return nil, explain(err)
	}
	k.startClock()
	k.tables = tables{maps: &k.objects.FlowMaps, used: make(map[*ebpf.Map]uint32), local: make(map[netip.Addr]*local), sets: make(map[ruleset.SetID]*bpf.FlowSet), setFilter: k.objects.ServiceFilter.Set}
	k.scanner.init(&k.objects.FlowMaps, &k.seats)
	if err := k.seats.open(k.objects.Seats4); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// shared are all maps but the constants, by name.
func (g *global) shared() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		bpf.FlowMapSeats4: g.Seats4, bpf.FlowMapConns4: g.Conns4, bpf.FlowMapConns6: g.Conns6, bpf.FlowMapFragments: g.Fragments, bpf.FlowMapEndpoints: g.Endpoints,
		bpf.FlowMapPeers: g.Peers, bpf.FlowMapCidrs4: g.Cidrs4, bpf.FlowMapCidrs6: g.Cidrs6, bpf.FlowMapServices: g.Services,
		bpf.FlowMapPorts: g.Ports, bpf.FlowMapRanges: g.Ranges, bpf.FlowMapMatches: g.Matches,
		bpf.FlowMapEvents: g.Events, bpf.FlowMapAsleep: g.Asleep, bpf.FlowMapIcmpErrors: g.IcmpErrors, bpf.FlowMapCounters: g.Counters, bpf.FlowMapRecent: g.Recent, bpf.FlowMapRecentPorts: g.RecentPorts, bpf.FlowMapRecentMatches: g.RecentMatches,
		bpf.FlowMapHomes: g.Homes, bpf.FlowMapFresh: g.Fresh, ".data": g.Data, ".bss": g.Bss,
	}
}

type pair struct {
	EbpolEgress  *ebpf.Program `ebpf:"ebpol_egress"`
	EbpolIngress *ebpf.Program `ebpf:"ebpol_ingress"`
}

// load tries without the program for silent connections if it can't be loaded
// with it: bpf_for_each_map_elem came with 5.13.
func (k *Kernel) load() error {
	err := k.spec.LoadAndAssign(&k.objects, nil)
	if err == nil || errors.Is(err, unix.EPERM) && !isVerifier(err) {
		return err
	}
	without := k.spec.Copy()
	delete(without.Programs, bpf.FlowProgEbpolJudgeAgain)
	var some struct {
		pair
		global
	}
	if again := without.LoadAndAssign(&some, nil); again != nil {
		return err
	}
	k.noAgain = err
	k.objects.global = some.global
	k.objects.EbpolEgress, k.objects.EbpolIngress = some.EbpolEgress, some.EbpolIngress
	return nil
}

// startClock lets the programs count ticks instead of asking for the time. If it
// can't, they ask, which only takes longer.
func (k *Kernel) startClock() {
	p := k.objects.EbpolClock
	if p == nil {
		return
	}
	k.objects.EbpolClock = nil
	defer p.Close()
	var tick unix.Timespec
	if unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick) != nil || k.objects.ClockTick.Set(uint64(tick.Nano())) != nil {
		return
	}
	_, _ = p.Run(&ebpf.RunOptions{Data: make([]byte, 64)}) // without it there are no ticks: see above
}

func isVerifier(err error) bool {
	var v *ebpf.VerifierError
	return errors.As(err, &v)
}

func explain(err error) error {
	if errors.Is(err, unix.EPERM) && !isVerifier(err) {
		return fmt.Errorf("load the flow programs: %w: run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN", err)
	}
	return fmt.Errorf("load the flow programs: %w", err)
}

// Programs to attach to a device: towards the pod and away from it. linkHeader
// says whether its packets start with an Ethernet header.
func (k *Kernel) Programs(linkHeader bool) (ingress, egress *ebpf.Program, err error) {
	if linkHeader {
		return k.objects.EbpolIngress, k.objects.EbpolEgress, nil
	}
	if k.bare == nil {
		spec := k.spec.Copy()
		delete(spec.Programs, bpf.FlowProgEbpolJudgeAgain)
		if err := spec.Variables[bpf.FlowVarNoLinkHeader].Set(uint32(1)); err != nil {
			return nil, nil, err
		}
		var some pair
		if err := spec.LoadAndAssign(&some, &ebpf.CollectionOptions{MapReplacements: k.objects.shared()}); err != nil {
			return nil, nil, explain(err)
		}
		k.bare = &bpf.FlowPrograms{EbpolEgress: some.EbpolEgress, EbpolIngress: some.EbpolIngress}
	}
	return k.bare.EbpolIngress, k.bare.EbpolEgress, nil
}

// SetLease lets enforcement bite until d from now on the clock that runs on
// while the machine sleeps; 0 or less ends it. It is one write of one word.
func (k *Kernel) SetLease(d time.Duration) error {
	if d <= 0 {
		return k.objects.LeaseUntil.Set(uint64(0))
	}
	return k.objects.LeaseUntil.Set(uint64(Boottime()) + uint64(d))
}

// ReadHeads says whether the heads of payloads are read: see [Head]. Of
// connections that are open already only those that ask for names are read.
func (k *Kernel) ReadHeads(on bool) error {
	v := uint32(0)
	if on {
		v = 1
	}
	var now uint32
	if err := k.objects.ReadHeads.Get(&now); err != nil || now == v {
		return err
	}
	if err := errors.Join(k.objects.ReadHeads.Set(v), k.hosts.readHeads(v)); err != nil {
		return err
	}
	return k.bump() // the next packet of each connection looks whether there is something to read
}

// errTooBig is what an insert into a full hash table returns.
var errTooBig = unix.E2BIG

// bump makes every cached verdict stale.
func (k *Kernel) bump() error {
	k.epoch++
	if k.epoch == 0 { // means "never judged" in a connection
		k.epoch = 1
	}
	return k.objects.Epoch.Set(k.epoch)
}

// Close frees what is loaded. What is attached stays until its link is closed.
func (k *Kernel) Close() error {
	if k.closed {
		return nil
	}
	k.closed = true
	var err error
	if k.bare != nil {
		err = errors.Join(k.bare.EbpolEgress.Close(), k.bare.EbpolIngress.Close())
	}
	if k.objects.EbpolJudgeAgain != nil {
		err = errors.Join(err, k.objects.EbpolJudgeAgain.Close())
	}
	return errors.Join(err, k.seats.close(), k.hosts.close(), k.objects.EbpolEgress.Close(), k.objects.EbpolIngress.Close(), k.objects.FlowMaps.Close(),
		k.objects.Data.Close(), k.objects.Bss.Close())
}

// Counts are totals since Open, summed over all CPUs. HeadsSince and HeadsTaken
// mean nothing.
type Counts = bpf.FlowCounts

// Counts reads the counters.
func (k *Kernel) Counts() (Counts, error) {
	var each []Counts
	if err := k.objects.Counters.Lookup(uint32(0), &each); err != nil {
		return Counts{}, err
	}
	var sum Counts
	for i := range each {
		c := &each[i]
		sum.RingFull += c.RingFull
		sum.TableFull += c.TableFull
		sum.UntrackedPackets += c.UntrackedPackets
		sum.UntrackedBytes += c.UntrackedBytes
		sum.Unwatched += c.Unwatched
		sum.NotIp += c.NotIp
		sum.CutShort += c.CutShort
		sum.FragmentLost += c.FragmentLost
		sum.Neighbour += c.Neighbour
		sum.Related += c.Related
		sum.Unrelated += c.Unrelated
		sum.EnforcedPackets += c.EnforcedPackets
		sum.Ids += c.Ids
		sum.HeadsLeftOut += c.HeadsLeftOut
	}
	return sum, nil
}

// Boottime is the clock of leases and of what is reported.
func Boottime() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

// monotonic is the clock of the programs.
func monotonic() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err) // fails for wrong arguments only
	}
	return time.Duration(ts.Nano())
}
