// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// The rule bits of the set that the truth table is asked of: a rule that
// matches the packet, and the default deny of its policy.
const (
	ruleBit = 0
	denyBit = 1
)

// truth is what the tables say, what the screen writes, and what becomes of
// the packet, for each combination of modes.
func truth(string) (string, error) {
	both, deny, none := mask(ruleBit, denyBit), mask(denyBit), mask()
	var b strings.Builder
	b.WriteString("| the cluster's policies | with the candidate's | mode | lease | the screen says | the packet |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- |\n")
	for _, row := range []struct {
		current, candidate, enforced, bits, alt ruleset.Bitmap // bits and alt: what matches in the two readings
		mode, lease                             string
	}{
		{current: both, candidate: both, bits: both, alt: both, mode: "any", lease: "any"},
		{current: both, candidate: deny, bits: both, alt: both, mode: "dry-run", lease: "any"},
		{current: both, candidate: deny, enforced: deny, bits: both, alt: both, mode: "enforced", lease: "runs"},
		{current: both, candidate: deny, enforced: deny, bits: both, alt: both, mode: "enforced", lease: "over"},
		{current: deny, candidate: both, bits: both, alt: both, mode: "any", lease: "any"},
		{current: deny, candidate: deny, bits: both, alt: both, mode: "dry-run", lease: "any"},
		{current: deny, candidate: deny, enforced: deny, bits: both, alt: both, mode: "enforced", lease: "runs"},
		{current: both, candidate: both, enforced: both, bits: both, alt: none, mode: "any", lease: "any"},
		{current: both, candidate: both, enforced: both, bits: none, alt: both, mode: "enforced, and the reading that it takes denies", lease: "runs"},
	} {
		r, err := judge(row.current, row.candidate, row.enforced, row.bits, row.alt)
		if err != nil {
			return "", err
		}
		dropped := r.Drop && row.lease == "runs"
		fate := "goes on"
		switch {
		case dropped:
			fate = "dropped by this session"
		case r.Current.Verdict == flow.Deny:
			fate = "goes on to the CNI, which should drop it"
		}
		word := style.New(style.Options{}).Of(r.Current.Verdict, r.Candidate.Verdict, dropped)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n",
			r.Current.Verdict, r.Candidate.Verdict, row.mode, row.lease, word, fate)
	}
	return b.String(), nil
}

func mask(bits ...int) (m ruleset.Bitmap) {
	for _, i := range bits {
		m.Add(i)
	}
	return m
}

// matching leaves out what always matches.
func matching(b ruleset.Bitmap) ruleset.Bitmap {
	if b == mask() {
		return b
	}
	return mask(ruleBit)
}

// judge asks the tables about one packet. bits is what matches in the reading
// that enforcement takes, alt in the other.
func judge(current, candidate, enforced, bits, alt ruleset.Bitmap) (ruleset.Result, error) {
	local, peer := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	always := mask(denyBit)
	r := &ruleset.Ruleset{
		Generation: 1,
		Sets: []ruleset.Set{{
			ID: 1, Always: always, Deny: always, IsolateStart: denyBit, BaselineStart: denyBit + 1,
			Current: current, Candidate: candidate, Enforced: enforced,
		}},
		Endpoints: []ruleset.Endpoint{{IP: local, ID: 1, Ingress: 1}},
		Peers:     []ruleset.Peer{{Prefix: netip.PrefixFrom(peer, 32), Class: 1, Flags: ruleset.PeerPod}},
		Ports:     []ruleset.Port{{Set: 1, Protocol: uint8(flow.TCP), Port: 80, Class: 1}},
		Matches:   []ruleset.Match{{Set: 1, Peer: 1, Ports: 1, Bits: matching(bits), Alt: matching(alt)}},
	}
	if err := r.Validate(); err != nil {
		return ruleset.Result{}, err
	}
	return ruleset.NewTable(r).Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: local, Peer: peer, Port: 80}), nil
}
