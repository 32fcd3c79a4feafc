// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// mostReported bounds the YAML in one report, in bytes.
const mostReported = 4 << 20

// write puts all that a disagreement takes to be understood into a file in the
// working directory, or in that for temporary files. It returns its path.
func (s *sampler) write(one *sampled, table ruleset.Result, current, candidate said, what string) (path string, err error) {
	var f *os.File
	for _, dir := range []string{".", os.TempDir()} {
		if f, err = os.CreateTemp(dir, "ebpol-disagreement-*.txt"); err == nil {
			break
		}
	}
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "%s, %s\n%s\n", s.program, time.Now().UTC().Format(time.RFC3339), what)
	fmt.Fprintf(w, "\n# The kernel's verdict: set %d, bit %d, dry-run bit %d, other reading %s\n%s\n",
		one.flow.GetSet(), int(one.flow.GetBit())-1, int(one.flow.GetCandidateBit())-1, wire.Verdict(one.flow.GetAlt()), one.flow)
	fmt.Fprintf(w, "\n# The tables that the kernel was given say\n%+v\n", table)
	fmt.Fprintf(w, "\n# The reference, by the cluster's policies: %s, by %s\n%+v\n", current.verdict(), current.decided(), current.Readings)
	fmt.Fprintf(w, "# The reference, by the dry-run's: %s, by %s\n%+v\n", candidate.verdict(), candidate.decided(), candidate.Readings)
	one.basis.writeEnds(w, one)
	writeSet(w, one, table.Set)
	one.basis.writePolicies(w, current.Subject)
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return "", err
	}
	return f.Name(), f.Close()
}

// writeEnds says who the two ends are, with their labels.
func (b *basis) writeEnds(w io.Writer, one *sampled) {
	view := b.current.View()
	for _, end := range []struct {
		name string
		ip   netip.Addr
	}{{"source", one.tuple.Source.Addr()}, {"destination", one.tuple.Destination.Addr()}} {
		fmt.Fprintf(w, "\n# The %s, %s\n", end.name, end.ip)
		switch pod, node := view.Pod(end.ip), view.Node(end.ip); {
		case pod != nil:
			fmt.Fprintf(w, "pod %s on node %s, %v, ports %v, labels %v, namespace's labels %v\n", pod.Key(), pod.Node, pod.IPs, pod.Ports, pod.Labels, view.NamespaceLabels(pod.Namespace))
		case node != nil:
			fmt.Fprintf(w, "node %s, labels %v\n", node.Name, node.Labels)
		default:
			fmt.Fprintln(w, "nobody that is known")
		}
	}
	at := policy.ServiceAddress{IP: one.tuple.Destination.Addr(), Protocol: one.tuple.Protocol, Port: one.packet.Port}
	if service, backends, ok := view.Service(at, one.node); ok {
		fmt.Fprintf(w, "service %s: %+v\n", service.Service.Key(), backends)
	}
}

// writeSet dumps the set that judged, with what its bits stand for.
func writeSet(w io.Writer, one *sampled, id ruleset.SetID) {
	r := one.rules.Ruleset()
	only := &ruleset.Ruleset{Generation: r.Generation}
	for i := range r.Sets {
		if r.Sets[i].ID == id {
			only.Sets = append(only.Sets, r.Sets[i])
		}
	}
	for _, p := range r.Ports {
		if p.Set == id {
			only.Ports = append(only.Ports, p)
		}
	}
	for _, p := range r.PortRanges {
		if p.Set == id {
			only.PortRanges = append(only.PortRanges, p)
		}
	}
	for _, m := range r.Matches {
		if m.Set == id {
			only.Matches = append(only.Matches, m)
		}
	}
	for _, p := range r.Peers {
		if p.Prefix.Contains(one.packet.Peer) {
			only.Peers = append(only.Peers, p)
		}
	}
	for _, e := range r.Endpoints {
		if e.IP == one.packet.Local {
			only.Endpoints = append(only.Endpoints, e)
		}
	}
	fmt.Fprintf(w, "\n# The set, generation %d\n", r.Generation)
	_, _ = only.WriteTo(w) // w keeps its first error
}

// writePolicies writes the policies that select the subject, then all others.
func (b *basis) writePolicies(w io.Writer, subject *identity.Pod) {
	left := mostReported
	for _, selecting := range []bool{true, false} {
		for _, m := range b.versions() {
			selects := subject != nil && b.current.View().Selects(&m.Policy.Subject, subject)
			if selects != selecting {
				continue
			}
			text := m.Policy.Source.YAML
			if left -= len(text); left < 0 {
				fmt.Fprintf(w, "\n# and more policies, which are too much for a report\n")
				return
			}
			fmt.Fprintf(w, "\n# %s %s: current %t, dry-run %t, enforced %t, selects the pod %t\n---\n%s\n",
				m.Policy.Kind, m.Policy.Key(), m.Current, m.Candidate, m.Enforced, selects, text)
		}
	}
}
