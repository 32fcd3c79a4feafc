// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// serviceWord stands before the name of a service.
const serviceWord = "svc "

// peerName is what to call an end of a flow in a table.
func peerName(p *flow.Peer) string {
	switch {
	case p == nil:
		return "unknown"
	case p.Pod != "":
		return part.Clean(slash(p.Namespace, p.Pod))
	case p.Service != "":
		return part.Clean(serviceWord + p.Service)
	case p.Workload != "":
		return part.Clean(slash(p.Namespace, p.Workload))
	case p.Name != "":
		return part.Clean(p.Name)
	case p.IP.IsValid():
		return p.IP.String()
	}
	return "unknown"
}

// peer is peerName without the namespace that everything here is in.
func (e *Env) peer(p *flow.Peer) string { return e.short(peerName(p)) }

// short leaves out the namespace if the session looks at one only: it stands
// in the header already.
func (e *Env) short(name string) string {
	if len(e.Health.Scope) != 1 {
		return name
	}
	ns := part.Clean(e.Health.Scope[0]) + "/"
	for _, lead := range []string{"", serviceWord, "no rule in "} {
		if rest, ok := strings.CutPrefix(name, lead+ns); ok {
			return lead + rest
		}
	}
	return name
}

// groupCell is an end of a flow in a table. Where there is no room, the kind of
// the workload goes before its name does.
func (e *Env) groupCell(p *flow.Peer, paint style.Paint) part.Cell {
	c := part.Cell{Text: e.short(peerGroup(p)), Paint: paint}
	if p != nil && p.Workload != "" {
		c.Short = e.short(part.Clean(slash(p.Namespace, kindless(p.Workload))))
	}
	return c
}

// kindless is "web" of "deploy/web".
func kindless(workload string) string {
	_, name, ok := strings.Cut(workload, "/")
	if !ok {
		return workload
	}
	return name
}

// shorter is a group's name as far as there is room: the kind of the workload
// goes before its name does.
func shorter(name string, width int) string {
	if part.Width(name) <= width || strings.HasPrefix(name, serviceWord) {
		return name
	}
	if ns, workload, ok := strings.Cut(name, "/"); ok {
		return slash(ns, kindless(workload))
	}
	return name
}

// ruleCell is what decided. Where there is no room, a policy goes without its
// namespace if that is the namespace of whom it judges.
func (e *Env) ruleCell(ev *flow.Event, paint style.Paint) part.Cell {
	c := part.Cell{Text: e.short(decider(ev)), Paint: paint}
	if subject, _ := judged(ev); subject != nil && subject.Namespace != "" {
		c.Short = strings.Replace(c.Text, part.Clean(subject.Namespace)+"/", "", 1)
	}
	return c
}

// peerGroup is what to call an end in a sentence: its workload if it has one.
func peerGroup(p *flow.Peer) string {
	if p != nil && p.Workload != "" {
		return part.Clean(slash(p.Namespace, p.Workload))
	}
	return peerName(p)
}

func slash(ns, name string) string {
	if ns == "" {
		return name
	}
	return ns + "/" + name
}

// port writes "tcp/5432", or "icmp".
func port(e *flow.Event) string {
	if e.Destination == nil {
		return portWord(e.Protocol, 0)
	}
	return portWord(e.Protocol, e.Destination.Port)
}

func portWord(protocol flow.Protocol, port uint16) string {
	s := strings.ToLower(protocol.String())
	if port != 0 && protocol.HasPorts() {
		s += "/" + strconv.Itoa(int(port))
	}
	return s
}

// judged and other are the two ends as policies see them.
func judged(e *flow.Event) (subject, other *flow.Peer) {
	if e.Direction == flow.Egress {
		return e.Source, e.Destination
	}
	return e.Destination, e.Source
}

// ruleName is "ingress rule 2 of NetworkPolicy shop/db".
func ruleName(r flow.Rule, d flow.Direction) string {
	s := string(r.Kind) + " " + slash(r.Namespace, r.Name)
	if r.Index != nil {
		s = "rule " + strconv.Itoa(*r.Index) + " of " + s
		if d != 0 {
			s = d.String() + " " + s
		}
	}
	return part.Clean(s)
}

func ruleShort(r flow.Rule) string { return part.Clean(r.String()) }

// cause is the short form of why, for a column.
func cause(rule *flow.Rule, isolating []flow.Rule, v flow.Verdict) string {
	switch {
	case len(isolating) > 0:
		s := "no rule in " + ruleShort(isolating[0])
		if n := len(isolating) - 1; n > 0 {
			s += " +" + strconv.Itoa(n)
		}
		return s
	case rule != nil:
		return ruleShort(*rule)
	case v == flow.Allow:
		return "no policy"
	case v == flow.Contested:
		return "readings differ"
	}
	return ""
}

// decider is the cause worth showing in one column: the candidate's where it
// changes the verdict, else the current one.
func decider(e *flow.Event) string {
	if e.WouldChange() {
		return cause(e.CandidateRule, e.CandidateIsolatedBy, e.Candidate)
	}
	return cause(e.Rule, e.IsolatedBy, e.Verdict)
}

// because is the reason of one verdict as the end of a sentence.
func because(e *flow.Event, v flow.Verdict, rule *flow.Rule, isolating []flow.Rule) string {
	subject, other := judged(e)
	whom := peerGroup(subject)
	d := ""
	if e.Direction != 0 {
		d = " for " + e.Direction.String()
	}
	switch {
	case v == flow.Contested && e.Reason != "":
		return "the specification lets implementations differ here: " + part.Clean(e.Reason)
	case v == flow.Contested:
		return "the specification lets implementations differ here"
	case v == flow.NotJudged:
		return "policies don't cover this traffic"
	case v == flow.Deny && len(isolating) > 0:
		word := "isolates "
		if len(isolating) > 1 {
			word = "isolate "
		}
		return list2(isolating) + " " + word + whom + d + ", and no rule lets " + peerGroup(other) + toOrFrom(e) + " on " + port(e)
	case rule != nil:
		return "by " + ruleName(*rule, e.Direction)
	case v == flow.Allow:
		return "no policy isolates " + whom + d
	}
	return "by which rule is not known"
}

func toOrFrom(e *flow.Event) string {
	if e.Direction == flow.Egress {
		return " be reached"
	}
	return " in"
}

// list2 names policies: "a", "a and b", "a, b and 3 more".
func list2(rules []flow.Rule) string {
	names := make([]string, 0, 3)
	for i, r := range rules {
		if i == 2 && len(rules) > 3 {
			names = append(names, strconv.Itoa(len(rules)-2)+" more")
			break
		}
		names = append(names, ruleShort(r))
		if i == 2 {
			break
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// story is the first thing that the why page says: one or two sentences.
func story(e *flow.Event, row *store.FlowRow) []string {
	var out []string
	verb := map[flow.Verdict]string{flow.Allow: "Allowed", flow.Deny: "Denied", flow.Contested: "Contested", flow.NotJudged: "Not judged"}
	now := join(verb[e.Verdict], because(e, e.Verdict, e.Rule, e.IsolatedBy))
	if e.Enforced {
		now = join("Cut by this session's lease, denied", because(e, e.Candidate, e.CandidateRule, e.CandidateIsolatedBy))
	}
	out = append(out, now+".")
	if e.Candidate != flow.NotJudged && !e.Enforced {
		switch {
		case e.WouldChange():
			why := because(e, e.Candidate, e.CandidateRule, e.CandidateIsolatedBy)
			out = append(out, join("The candidate would change that to "+candidateWord(e.Candidate), why)+".")
		default:
			out = append(out, "The candidate changes nothing here.")
		}
	}
	if s := disagrees(e); s != "" {
		return append(out, s)
	}
	if row == nil || e.Verdict != flow.Allow || e.Enforced {
		return out
	}
	if row.Leased > 0 {
		out = append(out, "This session's lease, which is over, dropped "+packets(row.Leased)+" of it.")
	}
	if n := row.Faults - min(row.Leased, row.Faults); n > 0 {
		out = append(out, "Policies allow it, yet the kernel dropped "+part.Count(n)+" of its packets: page 3, drops, says who did.")
	}
	return out
}

// join puts a reason behind what it explains.
func join(what, why string) string {
	if strings.HasPrefix(why, "by ") {
		return what + " " + why
	}
	return what + ": " + why
}

func candidateWord(v flow.Verdict) string {
	switch v {
	case flow.Allow:
		return "allowed"
	case flow.Deny:
		return "denied"
	case flow.Contested:
		return "contested"
	}
	return "not judged"
}
