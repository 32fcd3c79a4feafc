// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
)

// seats are where most IPv4 connections are: see bpf/lib/conns.h. They are the
// kernel's memory, mapped: the programs read and write it at the same time.
// What is said of a seat holds for as long as its key's second word does, which
// only who runs a scan frees.
type seats struct {
	mu   sync.RWMutex // held for writing by close alone
	all  []bpf.FlowSeat
	pool []byte
}

// As in bpf/lib/types.h.
const (
	seatTaken   = ^uint64(0) // SEAT_TAKEN
	lanePackets = 40         // LANE_PACKETS
)

// seatKey is a key as the programs compare it.
type seatKey = [2]uint64

func (s *seats) open(m *ebpf.Map) error {
	size := int(m.MaxEntries()) * int(unsafe.Sizeof(bpf.FlowSeat{}))
	page := unix.Getpagesize()
	pool, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the connections: %w", err)
	}
	s.pool = pool
	s.all = unsafe.Slice((*bpf.FlowSeat)(unsafe.Pointer(unsafe.SliceData(pool))), m.MaxEntries())
	return nil
}

func (s *seats) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool == nil {
		return nil
	}
	err := unix.Munmap(s.pool)
	s.all, s.pool = nil, nil
	return err
}

func seatKeyOf(k *bpf.FlowConn4Key) seatKey { return *(*seatKey)(unsafe.Pointer(k)) }

// placeOf is seat_at of bpf/lib/conns.h.
func placeOf(k seatKey) uint32 {
	const spread = 0x9e3779b97f4a7c15
	return uint32((k[0]*spread + k[1]) * spread >> 52)
}

// at is the seat that a connection may have, or nil.
func (s *seats) at(k seatKey) *bpf.FlowSeat {
	if i := placeOf(k); int(i) < len(s.all) && k[1] != 0 {
		return &s.all[i]
	}
	return nil
}

// find is the seat that a connection has, or nil.
func (s *seats) find(k seatKey) *bpf.FlowSeat {
	if seat := s.at(k); seat != nil && atomic.LoadUint64(&seat.Key[1]) == k[1] && seat.Key[0] == k[0] {
		return seat
	}
	return nil
}

// has says whether a connection has a seat.
func (s *seats) has(k seatKey) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.find(k) != nil
}

// takeOut frees the seat of a connection if it has one.
func (s *seats) takeOut(k seatKey, c *bpf.FlowConn) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seat := s.find(k)
	if seat == nil {
		return false
	}
	*c = free(seat)
	return true
}

// take gives a connection its seat, if that is free.
func (s *seats) take(k seatKey, c *bpf.FlowConn) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seat := s.at(k)
	if seat == nil || !atomic.CompareAndSwapUint64(&seat.Key[1], 0, seatTaken) {
		return false
	}
	seat.Conn, seat.Lanes, seat.Key[0] = *c, [2]bpf.FlowLane{}, k[0]
	atomic.StoreUint64(&seat.Key[1], k[1])
	return true
}

// connOf is the connection with what the programs count in lanes. They move
// that to the connection now and then, so the connection is read first: for a
// moment it may be too little, and is never too much.
func connOf(seat *bpf.FlowSeat) bpf.FlowConn {
	c := seat.Conn
	for i := range seat.Lanes {
		c.Packets[i] = atomic.LoadUint64(&seat.Conn.Packets[i])
		c.Bytes[i] = atomic.LoadUint64(&seat.Conn.Bytes[i])
	}
	for i := range seat.Lanes {
		lane := &seat.Lanes[i]
		sum := atomic.LoadUint64(&lane.Sum)
		c.Packets[i] += sum >> lanePackets
		c.Bytes[i] += sum & (1<<lanePackets - 1)
		c.LastNs = max(c.LastNs, atomic.LoadUint64(&lane.LastNs))
	}
	return c
}

// free says how the connection was left. Its addresses go first: nobody finds it
// while it is read, or what a packet added in that moment would be lost, and a
// key whose second word is 0, of a protocol 0 without ports, must not find who
// was here.
func free(seat *bpf.FlowSeat) bpf.FlowConn {
	atomic.StoreUint64(&seat.Key[0], ^uint64(0)) // no pair of addresses
	c := connOf(seat)
	atomic.StoreUint64(&seat.Key[1], 0)
	return c
}

// each calls f with every connection that has a seat. f may free it, and asks
// nothing else of the seats.
func (s *seats) each(f func(*bpf.FlowSeat, *bpf.FlowConn4Key) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.all {
		seat := &s.all[i]
		k := seatKey{1: atomic.LoadUint64(&seat.Key[1])}
		if k[1] == 0 || k[1] == seatTaken {
			continue
		}
		k[0] = seat.Key[0]
		if err := f(seat, (*bpf.FlowConn4Key)(unsafe.Pointer(&k))); err != nil {
			return err
		}
	}
	return nil
}

// add4 adds an IPv4 connection unless it is there already.
func (k *Kernel) add4(key bpf.FlowConn4Key, c *bpf.FlowConn) error {
	seat, m := seatKeyOf(&key), k.objects.Conns4
	if k.seats.has(seat) {
		return ebpf.ErrKeyExist
	}
	var there bpf.FlowConn
	if err := m.Lookup(key, &there); !errors.Is(err, ebpf.ErrKeyNotExist) {
		if err == nil {
			err = ebpf.ErrKeyExist
		}
		return err
	}
	if k.seats.take(seat, c) {
		return nil
	}
	return m.Update(key, c, ebpf.UpdateNoExist)
}
