// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TablePrefix begins the names of our tables.
const TablePrefix = "ebpol-trace-"

const (
	maxSteps  = 20_000 // a second
	wantedFor = 10 * time.Second
	maxWanted = 256
	maxWatch  = 8192
)

// ErrTooMuch ends a trace: the rules of the namespace make more messages than
// is good for its node.
var ErrTooMuch = errors.New("netfilter's rules aren't traced any longer: each packet meets too many of them")

// Tracer traces packets in one network namespace. Its methods may be called
// from any goroutine.
type Tracer struct {
	conn   *nftables.Conn
	socket *netlink.Conn // conn's own
	events *netlink.Conn
	rules  *rules
	table  *nftables.Table

	middle *nftables.Chain
	opens  *nftables.Chain
	later  *nftables.Chain

	mu        sync.Mutex
	watched   [2]*nftables.Set
	wanted    [2]*nftables.Set
	watches   map[netip.Addr]bool
	wants     map[netip.Addr]time.Time // until when
	searching bool                     // for wants, in middle
	datagrams bool                     // all are looked for
	closed    bool
}

// Open lays the chains in the namespace of the descriptor and traces nothing
// yet. name follows [TablePrefix]; stale says whether a table of ours was left
// by a process that is gone.
func Open(netns int, name string, stale func(name string) bool) (*Tracer, error) {
	t := &Tracer{
		table:   &nftables.Table{Name: TablePrefix + name, Family: nftables.TableFamilyINet},
		watches: map[netip.Addr]bool{}, wants: map[netip.Addr]time.Time{},
	}
	var err error
	t.conn, err = nftables.New(nftables.WithNetNSFd(netns), nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.socket = c
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("speak with nftables: %w", err)
	}
	fail := func(err error) (*Tracer, error) {
		return nil, errors.Join(fmt.Errorf("trace netfilter's rules: %w", err), t.Close())
	}
	if err := sweep(t.conn, stale); err != nil {
		return fail(err)
	}
	config := &netlink.Config{NetNS: netns}
	if t.events, err = netlink.Dial(unix.NETLINK_NETFILTER, config); err != nil {
		return fail(err)
	}
	_ = t.events.SetReadBuffer(1 << 20) // less loses steps under load, no more
	if err := t.events.JoinGroup(unix.NFNLGRP_NFTRACE); err != nil {
		return fail(err)
	}
	if t.rules, err = newRules(config); err != nil {
		return fail(err)
	}
	if err := t.own(); err != nil {
		t.conn.AddTable(t.table) // 5.11 and before: found by its name
	}
	if err := t.lay(); err != nil {
		return fail(err)
	}
	if err := t.conn.Flush(); err != nil {
		return fail(err)
	}
	return t, nil
}

// own makes the table belong to the socket, so that it goes with it.
func (t *Tracer) own() error {
	const ownerFlag = 2 // NFT_TABLE_F_OWNER
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(t.table.Name + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, ownerFlag}},
	})
	if err != nil {
		return err
	}
	batch := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request}, Data: header(0, unix.NFNL_SUBSYS_NFTABLES)}
	}
	_, err = t.socket.SendMessages([]netlink.Message{
		batch(unix.NFNL_MSG_BATCH_BEGIN),
		{
			Header: netlink.Header{Type: kind(unix.NFT_MSG_NEWTABLE), Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
			Data:   append(header(uint8(t.table.Family), 0), attrs...),
		},
		batch(unix.NFNL_MSG_BATCH_END),
	})
	if err != nil {
		return err
	}
	_, err = t.socket.Receive() // an error, or the acknowledgement
	return err
}

func kind(m int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | m)
}

func header(family uint8, id uint16) []byte { return []byte{family, 0, byte(id >> 8), byte(id)} }

// Watch says whose packets are traced: from or to these addresses, the whole
// list each time.
func (t *Tracer) Watch(ips []netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	want := make(map[netip.Addr]bool, len(ips))
	var add, del [2][]nftables.SetElement
	for _, ip := range ips[:min(len(ips), maxWatch)] {
		if ip = ip.Unmap(); !want[ip] && !t.watches[ip] {
			add[index(ip)] = append(add[index(ip)], nftables.SetElement{Key: ip.AsSlice()})
		}
		want[ip] = true
	}
	for ip := range t.watches {
		if !want[ip] {
			del[index(ip)] = append(del[index(ip)], nftables.SetElement{Key: ip.AsSlice()})
		}
	}
	for i := range families {
		if err := errors.Join(t.conn.SetDeleteElements(t.watched[i], del[i]), t.conn.SetAddElements(t.watched[i], add[i])); err != nil {
			return err
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("say whose packets are traced: %w", err)
	}
	t.watches = want
	return nil
}

// Want traces what the address sends, in the middle of connections too, for a
// few seconds: something of it was dropped, and isn't explained yet.
func (t *Tracer) Want(ip netip.Addr) error {
	ip = ip.Unmap()
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || !ip.IsValid() || now.Before(t.wants[ip]) {
		return nil
	}
	t.expire(now)
	if len(t.wants) >= maxWanted {
		return nil
	}
	t.wants[ip] = now.Add(wantedFor)
	t.search(true, t.datagrams)
	if err := t.conn.SetAddElements(t.wanted[index(ip)], []nftables.SetElement{{Key: ip.AsSlice(), Timeout: wantedFor}}); err != nil {
		return err
	}
	if err := t.conn.Flush(); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func (t *Tracer) expire(now time.Time) {
	for old, until := range t.wants {
		if !now.Before(until) {
			delete(t.wants, old)
		}
	}
}

// Datagrams says whether all UDP of watched addresses is traced, or only
// questions to DNS and what was wanted.
func (t *Tracer) Datagrams(on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	t.search(t.searching, on)
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("trace datagrams: %w", err)
	}
	return nil
}

// Tidy takes the rules out that nobody needs any more; call it now and then.
func (t *Tracer) Tidy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(time.Now())
	if t.closed || !t.searching || len(t.wants) > 0 {
		return
	}
	t.search(false, t.datagrams)
	_ = t.conn.Flush() // the rules then stay, and find nothing
}

func index(ip netip.Addr) int {
	if ip.Is4() {
		return 0
	}
	return 1
}

// Follow calls fn for each step until the tracer is closed, whose own rules
// aren't told. It returns nil then, or why it ended before.
func (t *Tracer) Follow(fn func(*Step)) error {
	second, steps := time.Now(), 0
	for {
		list, err := t.events.Receive()
		if err != nil {
			switch {
			case t.isClosed():
				return nil
			case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
				continue // steps were lost, which the next packet's make good
			}
			return fmt.Errorf("read the trace of netfilter's rules: %w", err)
		}
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, steps = now, 0
		}
		if steps += len(list); steps > maxSteps {
			return errors.Join(ErrTooMuch, t.Close())
		}
		for i := range list {
			if list[i].Header.Type != kind(unix.NFT_MSG_TRACE) {
				continue
			}
			if s, err := ParseStep(list[i].Data); err == nil {
				fn(&s)
			}
		}
	}
}

// Ours says whether the step is of a table that some tracer of us made.
func (s *Step) Ours() bool { return strings.HasPrefix(s.Table, TablePrefix) }

func (t *Tracer) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// Rule reads the rule of a step; of a chain's policy, only what the step says.
func (t *Tracer) Rule(s *Step) Rule { return t.rules.find(s) }

// Hook is what the base chain of a step is called for: "prerouting",
// "forward", ...; empty: it is not a base chain.
func (t *Tracer) Hook(s *Step) string { return t.rules.hook(s) }

// Close removes the table. Tracing ends with it.
func (t *Tracer) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	t.conn.DelTable(t.table) // below 5.12 it would stay
	_ = t.conn.Flush()       // not there, or goes with the socket
	errs := []error{t.conn.CloseLasting()}
	if t.events != nil {
		errs = append(errs, t.events.Close())
	}
	if t.rules != nil {
		errs = append(errs, t.rules.close())
	}
	return errors.Join(errs...)
}
