// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

func compareText(a, b string) int { return strings.Compare(a, b) }

// Prefix begins the names of suggested policies, so that they never take the
// place of somebody's own.
const Prefix = "ebpol-"

const maxName = 253 // characters of an object's name

// name gives each policy a name of its own.
func (m *maker) name() {
	taken := map[string]bool{}
	slices.SortFunc(m.order, func(a, b string) int {
		p, q := m.subjects[a].policy, m.subjects[b].policy
		if p.Namespace != q.Namespace {
			return compareText(p.Namespace, q.Namespace)
		}
		return compareText(p.Workloads[0], q.Workloads[0])
	})
	for _, key := range m.order {
		p := m.subjects[key].policy
		kind, name, _ := strings.Cut(p.Workloads[0], "/")
		full := Prefix + name
		if taken[p.Namespace+"/"+full] {
			full = Prefix + kind + "-" + name
		}
		full = strings.TrimRight(full[:min(len(full), maxName-4)], "-.")
		p.Name = full
		for i := 2; taken[p.Key()]; i++ {
			p.Name = fmt.Sprintf("%s-%d", full, i)
		}
		taken[p.Key()] = true
		m.out.Policies = append(m.out.Policies, p)
	}
}

// finish turns a subject's claims into rules.
func (m *maker) finish(sub *subject) {
	p := sub.policy
	for _, pod := range sub.pods {
		if !pod.Done {
			p.Pods++
		}
	}
	p.Ingress = rulesOf(sub.rules[0], flow.Ingress)
	p.Egress = rulesOf(sub.rules[1], flow.Egress)
	if m.dns.known() && (sub.dns.Flows > 0 || sub.talks) {
		p.Egress = append(m.dnsRules(sub), p.Egress...)
	}
	var also []string
	for _, pod := range sub.pods {
		for _, w := range m.choose(pod).also {
			if !slices.Contains(p.Workloads, w) && !slices.Contains(also, w) {
				also = append(also, w)
			}
		}
	}
	if len(also) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("no label that lasts tells its pods from those of %s: the policy is for them as well", strings.Join(also, ", ")))
	}
	var loose []string
	for _, c := range m.in.Current {
		if c.Tier == policy.Network && c.Key() != p.Key() && slices.ContainsFunc(sub.pods, func(pod *identity.Pod) bool { return m.judge.Now().Selects(&c.Subject, pod) }) && (len(c.Ingress) > 0 || len(c.Egress) > 0) {
			loose = append(loose, c.Name)
		}
	}
	if len(loose) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("NetworkPolicy %s selects its pods as well: what it allows stays allowed until it is deleted", traffic.Some(loose, 5)))
	}
}

// rulesOf makes one rule for each workload that is a peer, and one for all
// addresses that need the same ports.
func rulesOf(claims map[string]*claim, d flow.Direction) []*Rule {
	var peers []*Peer
	ports := map[*Peer][]*Port{}
	for _, c := range claims {
		slices.SortFunc(c.ports, (*Port).compare)
		peers = append(peers, c.peer)
		ports[c.peer] = c.ports
	}
	sortPeers(peers)
	var out []*Rule
	blocks := map[string]*Rule{}
	for _, p := range peers {
		if p.Namespace != "" {
			out = append(out, &Rule{Direction: d, Peers: []*Peer{p}, Ports: ports[p]})
			continue
		}
		key := ""
		for _, port := range ports[p] {
			key += fmt.Sprintf("%d/%d/%s ", port.Number, port.Protocol, port.Name)
		}
		r := blocks[key]
		if r == nil {
			r = &Rule{Direction: d}
			for _, port := range ports[p] {
				same := *port
				same.Seen = Evidence{}
				r.Ports = append(r.Ports, &same)
			}
			blocks[key] = r
			out = append(out, r)
		}
		r.Peers = append(r.Peers, p)
		for i, port := range ports[p] {
			r.Ports[i].Seen.join(&port.Seen)
		}
	}
	return out
}

// tell says what was left out, and what was not seen.
func (m *maker) tell() {
	out, c := m.out, m.in.Coverage
	out.Denied, out.Left = counted(m.denied), counted(m.left)
	pods := m.judge.Now().World.SelectPods(func(p *identity.Pod) bool { return !p.Done && m.target(p) })
	active := map[string]bool{}  // pods with a flow
	touched := map[string]bool{} // their workloads
	reached := map[string]bool{} // workload and port
	for _, s := range m.in.Log.Seen() {
		for _, p := range []*flow.Peer{&s.Source, &s.Destination, s.Backend} {
			if p != nil {
				active[p.Namespace+"/"+p.Pod] = true
			}
		}
		if p := s.Subject(); p.Pod != "" {
			touched[p.Namespace+"/"+p.Workload] = true
			if s.Direction == flow.Ingress {
				reached[fmt.Sprintf("%s/%s %d %s", p.Namespace, p.Workload, s.Destination.Port, s.Protocol)] = true
			}
		}
	}
	if unwatched, nodes := c.Unwatched(pods); len(unwatched) > 0 {
		out.Unseen = append(out.Unseen, fmt.Sprintf("%s (on %s): no probe watched them", traffic.Some(unwatched, 5), traffic.Some(nodes, 5)))
	}
	for _, sub := range m.subjects { // seen from the other end alone
		for _, w := range sub.policy.Workloads {
			touched[sub.policy.Namespace+"/"+w] = true
		}
	}
	m.quiet(pods, active, touched, reached)
	if idle := m.in.Log.Idle(m.jobs()); len(idle) > 0 {
		var names []string
		for _, j := range idle {
			names = append(names, fmt.Sprintf("%s (%s)", j.Key(), j.Schedule))
		}
		out.Unseen = append(out.Unseen, "CronJobs that did not run: "+traffic.Some(names, 10))
	}
	if c.NoJobs != "" {
		out.Unseen = append(out.Unseen, "CronJobs: "+c.NoJobs)
	}
	out.Unseen = append(out.Unseen, c.Missed()...)
	out.Unseen = append(out.Unseen, fmt.Sprintf("what runs at other times than these %s, such as backups, failovers and the end of the month", length(c.Window())))
	if w := m.judge.Now().World; len(w.Scope) > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("your rights end at namespace %s: pods elsewhere show as bare addresses here, and a rule for an address of a pod doesn't last", strings.Join(w.Scope, ", ")))
	}
	for p := range m.in.Partly {
		out.Notes = append(out.Notes, fmt.Sprintf("the recording doesn't hold the cluster's text of %s %s: what it denies is known only as far as it was recorded", p.Kind, p.Key()))
	}
	slices.Sort(out.Notes)
}

// jobs are the CronJobs that are the subject, or may speak to it.
func (m *maker) jobs() []traffic.CronJob {
	return slices.DeleteFunc(slices.Clone(m.in.Coverage.CronJobs), func(j traffic.CronJob) bool {
		return j.Suspended || !slices.ContainsFunc(m.out.Policies, func(p *Policy) bool { return p.Namespace == j.Namespace })
	})
}

// quiet tells of workloads, replicas and ports without traffic.
func (m *maker) quiet(pods []*identity.Pod, active, touched, reached map[string]bool) {
	var silent, replicas, ports []string
	done := map[string]bool{}
	for _, p := range pods {
		key := p.Namespace + "/" + p.Workload
		if done[key] {
			continue
		}
		done[key] = true
		if !touched[key] {
			silent = append(silent, key)
			continue
		}
		all, still := 0, 0
		for _, o := range pods {
			if o.Namespace == p.Namespace && o.Workload == p.Workload {
				if all++; !active[o.Key()] {
					still++
				}
			}
		}
		if still > 0 {
			replicas = append(replicas, fmt.Sprintf("%d of %d pods of %s", still, all, key))
		}
		for _, port := range p.Ports {
			if text := fmt.Sprintf("%s %d %s", key, port.Number, port.Protocol); !reached[text] {
				ports = append(ports, fmt.Sprintf("%s:%d (%s)", key, port.Number, port.Name))
			}
		}
	}
	for _, x := range []struct {
		what string
		list []string
	}{
		{"no traffic at all, and so no policy: ", silent}, {"no traffic of ", replicas}, {"nobody asked, and so nobody may: ", ports},
	} {
		if len(x.list) > 0 {
			m.out.Unseen = append(m.out.Unseen, x.what+traffic.Some(x.list, 10))
		}
	}
}
