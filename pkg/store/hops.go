// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// hops tells each netfilter rule that a caught packet met, named at both ends.
func (a *applying) hops(m *wire.Hops) {
	for _, h := range m.GetHops() {
		rule := nftRule(h.GetRule())
		source, okSource := netip.AddrFromSlice(h.GetSrc())
		destination, okDestination := netip.AddrFromSlice(h.GetDst())
		if rule == nil || !okSource || !okDestination || h.GetSport() > 0xffff || h.GetDport() > 0xffff {
			continue
		}
		e := flow.Event{
			Type: flow.HopEvent, Time: a.when(h.GetTimeNs()), Node: a.node, Protocol: flow.Protocol(h.GetProtocol()), //nolint:gosec // a number above is no protocol
			Reason: clean(h.GetHook()), Device: clean(h.GetDeviceIn()), NftRule: rule, Note: RuleName(rule) + ": " + rule.Verdict,
		}
		if e.Device == "" {
			e.Device = clean(h.GetDeviceOut())
		}
		if e.Reason != "" {
			e.Note = e.Reason + ", " + e.Note
		}
		if rule.Engine != "" {
			e.Note += ", by " + rule.Engine
		}
		from, to := netip.AddrPortFrom(source.Unmap(), uint16(h.GetSport())), netip.AddrPortFrom(destination.Unmap(), uint16(h.GetDport())) //nolint:gosec // checked
		e.Source = a.s.names.of(from.Addr(), a.here(e.Time)).peer(from)
		e.Destination = a.s.names.of(to.Addr(), a.here(e.Time)).peer(to)
		a.emit(e, FlowID{})
	}
}
