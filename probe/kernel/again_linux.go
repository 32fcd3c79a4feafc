// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
)

// again names connections to the program that judges them; its map is used by
// one at a time.
type again struct {
	sync.Mutex
	keys []uint32
	some []bpf.FlowStale
}

// judgeAgain brings the verdicts of silent connections up to date. Where the
// kernel can't, their next packet does. It names them to the program, a few at a
// time: a processor receives no packets while the program runs.
func (k *Kernel) judgeAgain() error {
	if k.noAgain != nil {
		return nil
	}
	a := &k.again
	a.Lock()
	defer a.Unlock()
	if a.keys == nil {
		a.keys = make([]uint32, k.objects.Again.MaxEntries())
		for i := range a.keys {
			a.keys[i] = uint32(i) //nolint:gosec // as many as the map has
		}
	}
	a.some = a.some[:0]
	var epoch uint32
	if err := k.objects.Epoch.Get(&epoch); err != nil {
		return fmt.Errorf("read the epoch: %w", err)
	}
	four := func(c *bpf.FlowConn4Key) error {
		key := bpf.FlowConn6Key{LocalPort: c.LocalPort, PeerPort: c.PeerPort, Protocol: c.Protocol}
		key.Local.Word = [4]uint32{2: 0xffff0000, 3: c.Local}
		key.Peer.Word = [4]uint32{2: 0xffff0000, 3: c.Peer}
		return k.nameStale(bpf.FlowStale{Key: key, Family: 4})
	}
	err := k.seats.each(func(seat *bpf.FlowSeat, c *bpf.FlowConn4Key) error {
		if !stale(&seat.Conn, epoch) {
			return nil
		}
		return four(c)
	})
	if err == nil {
		err = eachStale(k.objects.Conns4, epoch, four)
	}
	if err == nil {
		err = eachStale(k.objects.Conns6, epoch, func(c *bpf.FlowConn6Key) error { return k.nameStale(bpf.FlowStale{Key: *c, Family: 6}) })
	}
	if err == nil && len(a.some) > 0 {
		err = k.judgeSome()
	}
	return err
}

// nameStale has them judged when enough are named.
func (k *Kernel) nameStale(s bpf.FlowStale) error {
	a := &k.again
	if a.some = append(a.some, s); len(a.some) < len(a.keys) {
		return nil
	}
	return k.judgeSome()
}

func (k *Kernel) judgeSome() error {
	a := &k.again
	if len(a.some) < len(a.keys) {
		a.some = append(a.some, bpf.FlowStale{}) // no more
	}
	_, err := k.objects.Again.BatchUpdate(a.keys[:len(a.some)], a.some, nil)
	if err == nil {
		_, err = k.objects.EbpolJudgeAgain.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	}
	a.some = a.some[:0]
	if err != nil {
		return fmt.Errorf("judge silent connections: %w", err)
	}
	return nil
}

// stale says whether a connection was judged in another epoch.
func stale(c *bpf.FlowConn, epoch uint32) bool {
	return c.Epoch != epoch && c.Flags&uint16(bpf.FlowConnFlagsCONN_NOT_JUDGED) == 0
}

// eachStale calls f with each stale connection of a table.
func eachStale[K comparable](m *ebpf.Map, epoch uint32, f func(*K) error) error {
	keys, conns := make([]K, batch), make([]bpf.FlowConn, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, conns, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("read the connections: %w", err)
		}
		for i := range n {
			if !stale(&conns[i], epoch) {
				continue
			}
			if err := f(&keys[i]); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}
