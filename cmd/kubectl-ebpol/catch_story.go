// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// A story ends when nothing new came for a while, or has become known.
const (
	storyQuiet  = 1500 * time.Millisecond // a TCP that gets no answer says so by its second try
	storyWithin = 8 * time.Second
	lateWithin  = 20 * time.Second // a node's probe may take so much longer than another's
	settled     = 2 * time.Second
	keptEvents  = 2000
	keptNear    = 100
)

// errCaught ends a session that has what it waited for.
var errCaught = errors.New("caught")

// catcher waits for a connection and collects its story.
type catcher struct {
	c       *catchCommand
	world   func() *identity.World
	refresh func()
	printer *lines.Printer

	kept    []flow.Event // of connections that may become the one
	near    map[string]bool
	ready   func()
	some    time.Time // when the first node was live
	live    time.Time // when all were
	key     connection
	began   time.Time
	last    time.Time
	told    bool
	renewed time.Time
}

// connection is what stays the same of one at both ends and behind a service:
// who opened it, from which port.
type connection struct {
	protocol flow.Protocol
	from     netip.AddrPort
}

func keyOf(e *flow.Event) connection {
	return connection{e.Protocol, netip.AddrPortFrom(e.Source.IP, e.Source.Port)}
}

var _ liner = (*catcher)(nil)

// Event implements [liner].
func (ca *catcher) Event(e *flow.Event) error {
	if e.Source == nil || e.Destination == nil {
		return nil
	}
	w := ca.world()
	if !ca.c.takes(e, w) {
		if !ca.reply(e) {
			ca.missed(e, w)
			return nil
		}
	}
	ca.kept = append(ca.kept, *e)
	if len(ca.kept) > keptEvents {
		ca.kept = slices.Delete(ca.kept, 0, keptEvents/2)
	}
	if ca.began.IsZero() && ca.starts(e) {
		ca.key, ca.began = keyOf(e), time.Now()
	}
	if !ca.began.IsZero() && keyOf(e) == ca.key {
		ca.last = time.Now()
	}
	return nil
}

// starts says whether the event begins what is waited for. What was open
// before isn't the next connection.
func (ca *catcher) starts(e *flow.Event) bool {
	if ca.live.IsZero() {
		return false
	}
	dropped := e.Type == flow.DropEvent && !e.Benign || e.Enforced
	if dropped && !ca.seen(e) && time.Since(ca.live) < settled {
		return false // it left while its pod wasn't watched yet
	}
	if ca.c.dropped {
		return dropped
	}
	return dropped || e.Type == flow.FlowEvent && !strings.HasPrefix(e.Note, "open before")
}

// seen says whether the connection was seen where it left or arrived.
func (ca *catcher) seen(e *flow.Event) bool {
	return slices.ContainsFunc(ca.kept, func(k flow.Event) bool { return k.Type == flow.FlowEvent && keyOf(&k) == keyOf(e) })
}

// reply says whether the event is of a packet that came back on the caught
// connection: a drop on its way back belongs to the story.
func (ca *catcher) reply(e *flow.Event) bool {
	return !ca.began.IsZero() && e.Type == flow.DropEvent && !e.Benign && e.Protocol == ca.key.protocol &&
		netip.AddrPortFrom(e.Destination.IP, e.Destination.Port) == ca.key.from
}

// missed remembers what was seen of the two instead.
func (ca *catcher) missed(e *flow.Event, w *identity.World) {
	if e.Type != flow.FlowEvent || len(ca.near) >= keptNear || !ca.c.from.has(e.Source, w) && !ca.c.to.has(e.Destination, w) {
		return
	}
	if ca.near == nil {
		ca.near = map[string]bool{}
	}
	source := *e.Source
	source.Port = 0
	ca.near[lines.Name(&source)+" -> "+lines.Name(e.Destination)] = true
}

// Tick implements [liner].
func (ca *catcher) Tick(s *store.Store) error {
	now := time.Now()
	if ca.live.IsZero() {
		if ca.watched(s.Snapshot(store.Query{Nodes: true}).Nodes, now) {
			ca.live = now
			ca.ready()
		}
		return nil
	}
	if now.Sub(ca.renewed) > time.Second {
		ca.renewed = now
		ca.refresh()
	}
	switch {
	case !ca.began.IsZero() && (ca.over() || now.Sub(ca.last) > storyQuiet || now.Sub(ca.began) > storyWithin):
		ca.told = true
		return errors.Join(ca.tell(), errCaught)
	case ca.began.IsZero() && now.Sub(ca.live) > ca.c.timeout:
		return errCaught // nothing was
	}
	return nil
}

// watched says whether every node sees its pods, or won't: a story that lacks
// an end isn't whole. Whoever is late is waited for no longer than lateWithin.
func (ca *catcher) watched(nodes []*store.NodeRow, now time.Time) bool {
	live, late := 0, 0
	for _, n := range nodes {
		switch {
		case n.Phase == "live" && n.Endpoints+n.Failed > 0:
			live++
		case n.Phase != "failed" && n.Phase != "gone":
			late++
		}
	}
	if live == 0 {
		return false
	}
	if ca.some.IsZero() {
		ca.some = now
	}
	return late == 0 || now.Sub(ca.some) > lateWithin
}

// over says whether nothing is left to happen: both ends are done.
func (ca *catcher) over() bool {
	closed := 0
	for i := range ca.kept {
		if keyOf(&ca.kept[i]) == ca.key && ca.kept[i].Type == flow.CloseEvent {
			closed++
		}
	}
	return closed >= 2
}

// End implements [liner].
func (ca *catcher) End(*store.Store) error {
	if ca.began.IsZero() || ca.told {
		return nil
	}
	ca.told = true
	return ca.tell()
}

// story is the connection's events in the order in which they happened.
func (ca *catcher) story() (list []flow.Event) {
	for i := range ca.kept {
		if e := &ca.kept[i]; keyOf(e) == ca.key || ca.reply(e) {
			list = append(list, *e)
		}
	}
	slices.SortStableFunc(list, func(a, b flow.Event) int { return a.Time.Compare(b.Time) })
	return list
}

func (ca *catcher) tell() error {
	list := ca.story()
	if ca.c.format == lines.JSON {
		for i := range list {
			if err := ca.printer.Print(&list[i]); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := fmt.Fprint(ca.c.Out, printable(storyText(list)))
	return err
}

// rank is where an event stands on the way. Clocks of two nodes, and of tracing
// and counting on one, aren't exact enough to tell.
func rank(e *flow.Event, left string) int {
	switch {
	case e.Type == flow.HopEvent && e.Node == left:
		return 1
	case e.Type == flow.HopEvent:
		return 2
	case e.Direction == flow.Egress && (e.Type == flow.FlowEvent || e.Type == flow.VerdictEvent):
		return 0
	case e.Type == flow.FlowEvent || e.Type == flow.VerdictEvent:
		return 3
	}
	return 4
}

// storyText tells it hop by hop.
func storyText(list []flow.Event) string {
	var b strings.Builder
	step := func(where, format string, args ...any) {
		fmt.Fprintf(&b, "  %-24s %s\n", where, fmt.Sprintf(format, args...))
	}
	head := &list[0]
	fmt.Fprintf(&b, "%s  %s  %s -> %s\n", head.Time.Local().Format("15:04:05.000"), head.Protocol, lines.Name(head.Source), lines.Name(head.Destination))
	left := ""
	newest := map[flow.Direction]*flow.Event{}
	for i := range list {
		e := &list[i]
		if e.Direction == flow.Egress && left == "" {
			left = e.Node
		}
		if e.Direction != 0 && e.Type != flow.DropEvent && e.Type != flow.HopEvent {
			newest[e.Direction] = e
		}
	}
	way := slices.Clone(list)
	slices.SortStableFunc(way, func(a, b flow.Event) int { return rank(&a, left) - rank(&b, left) })
	said, leads := map[string]bool{}, 0
	once := func(what string) bool {
		was := said[what]
		said[what] = true
		return !was
	}
	for i := range way {
		switch e := &way[i]; e.Type {
		case flow.FlowEvent, flow.VerdictEvent:
			step(place(e), "%s", judged(e))
		case flow.HopEvent:
			if leadsOn(e.NftRule) {
				leads++
			} else if once(e.Node + e.Note) {
				step("node "+e.Node, "%s", e.Note)
				if e.NftRule.Text != "" && e.NftRule.Handle != 0 {
					step("", "%s", e.NftRule.Text)
				}
			}
		case flow.DropEvent:
			if !e.Benign && once(e.Culprit+e.Location) {
				step("node "+e.Node, "DROPPED by %s: %s", e.Culprit, e.Note)
				at := orNone(e.Location)
				if e.Device != "" { // what never became a packet met none
					at += ", device " + e.Device
				}
				step("", "reason %s at %s", e.Reason, at)
			}
		}
	}
	if leads > 0 {
		step("", "and %d more rules that only lead to others, or policies that accept (all with -o json)", leads)
	}
	for _, d := range []flow.Direction{flow.Egress, flow.Ingress} {
		if e := newest[d]; e != nil {
			step("seen at the "+d.Subject(), "%s", became(e))
		}
	}
	return b.String()
}

// leadsOn says that a rule decided nothing about the packet.
func leadsOn(r *flow.NftRule) bool {
	return strings.HasPrefix(r.Verdict, "jump ") || strings.HasPrefix(r.Verdict, "goto ") || r.Handle == 0 && r.Verdict == "accept"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// place is where the event was seen.
func place(e *flow.Event) string {
	if e.Direction == flow.Egress {
		return "leaves the pod (" + e.Node + ")"
	}
	return "comes to the pod (" + e.Node + ")"
}

// judged is the verdict with what decided.
func judged(e *flow.Event) string {
	s := lines.Word(e)
	if why := lines.Decided(e.Rule, e.IsolatedBy); why != "" {
		return s + " by " + why
	}
	if e.Verdict == flow.Allow {
		return s + ": no policy isolates the pod"
	}
	return s
}

// became is what the end of the connection saw of it.
func became(e *flow.Event) string {
	var parts []string
	if e.Observed != "" {
		parts = append(parts, string(e.Observed))
	}
	if e.AnswerSeconds > 0 {
		parts = append(parts, fmt.Sprintf("answer after %.3f ms", e.AnswerSeconds*1000))
	}
	if e.Agreement != "" {
		parts = append(parts, string(e.Agreement))
	}
	if e.Owner != nil {
		parts = append(parts, fmt.Sprintf("%s (pid %d)", e.Owner.Command, e.Owner.PID))
	}
	parts = append(parts, count.Of(e.Packets, "packet")+", "+lines.Bytes(e.Bytes))
	return strings.Join(parts, ", ")
}
