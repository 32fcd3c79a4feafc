// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire" //nolint:depguard // the frames go into a store; the screen sees none
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// freezing is a store that can hold a moment, as the program's is.
type freezing struct{ *store.Store }

func (f freezing) Freeze() Snapshots { return f.Store.Freeze() }

// busyShop is a store with 60 connections, and what lets more happen: each
// has other bytes then, some come and some are denied.
func busyShop() (*store.Store, func()) {
	st := store.New(store.Options{Quiet: true})
	now, round := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), 0
	more := func() {
		now = now.Add(3 * time.Second)
		var list []*wire.Flow
		for i := range 60 + 20*round {
			list = append(list, &wire.Flow{
				Id: uint64(i + 1), Kind: wire.Flow_NEW, Endpoint: 1, Direction: 1, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, LocalPort: uint32(5432 + i%3), //nolint:gosec // small
				PeerIp: []byte{10, 0, 1, byte(i)}, PeerPort: 4000, Verdict: uint32(1 + (i+round)%2), BytesIn: uint64(1000*round + (i*37+round*11)%61*10), PacketsIn: 1, //nolint:gosec // small
			})
		}
		round++
		st.Apply(&wire.Frame{TimeNs: now.UnixNano(), Node: fmt.Sprint("n", 1), Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}})
	}
	more()
	return st, more
}

// TestAFrozenScreenIsSortedAndFilteredAsOfItsMoment: whatever is asked of a
// frozen screen, it shows what one would have shown that was asked the same at
// that moment.
func TestAFrozenScreenIsSortedAndFilteredAsOfItsMoment(t *testing.T) {
	for _, start := range []string{"connections", "flows", "top"} {
		for name, keys := range map[string][]string{
			"sorted":          {"B"},
			"turned round":    {"B", "B"},
			"filtered":        {"/", "5", "4", "3", "3", "enter"},
			"filtered, field": {"/", "p", "o", "r", "t", "=", "5", "4", "3", "2", "enter"},
			"both":            {"/", "!", "5", "4", "3", "3", "enter", "B"},
			"trouble":         {"ctrl+z"},
			"at the end":      {"B", "end"},
			"another page":    {"2", "B"},
			"there and back":  {"6", "1", "2"},
		} {
			t.Run(start+" "+name, func(t *testing.T) {
				st, more := busyShop()
				frozenAt := st.Freeze()
				d := drive(t, fake.New(), 140, 40, func(o *Options) { o.StartPage, o.Snapshots = start, freezing{st} })
				then := drive(t, fake.New(), 140, 40, func(o *Options) { o.StartPage, o.Snapshots = start, frozenAt })
				d.keys("space")
				more()
				d.tick()
				more()
				for _, k := range keys {
					d.keys(k)
					then.keys(k)
					d.tick()
					more()
				}
				d.tick()
				then.tick()
				d.shows(" frozen at 12:00:03")
				rows := func(d *driver) string {
					lines := strings.Split(d.text(), "\n")
					return strings.Join(lines[3:len(lines)-2], "\n") // without header, tabs and footer
				}
				if got, want := rows(d), rows(then); got != want {
					t.Errorf("frozen:\n%s\nat that moment:\n%s", got, want)
				}
				d.keys("space")
				d.tick()
				d.hides("frozen")
				if start != "top" && rows(d) == rows(then) { // no workload has a port's number in its name
					t.Error("it shows the same when it goes on")
				}
			})
		}
	}
}
