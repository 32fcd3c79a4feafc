// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/page"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// names are what a prompt completes and looks up: those of whom the session has
// seen, sorted; what is in a namespace as "shop/web".
type names struct {
	pods, workloads, namespaces, services, nodes, policies []string

	labels []string // of pods, as "app=web"
}

// mostNames is how many of a kind are known to prompts.
const mostNames = 2000

// namesMsg brings the names that are known now.
type namesMsg names

// learn asks for the names; the prompt is open meanwhile.
func (m *Model) learn() tea.Cmd {
	source, labels := m.opt.Snapshots, m.opt.PodLabels
	return func() tea.Msg {
		s := source.Snapshot(store.Query{
			Workloads: true, Policies: true, Nodes: true, Flows: true, Limit: mostNames, Order: store.Order{By: "verdict"},
		})
		n := names{}
		end := func(p *flow.Peer) {
			if p == nil {
				return
			}
			add(&n.pods, p.Namespace, p.Pod)
			add(&n.workloads, p.Namespace, p.Workload)
			add(&n.services, "", p.Service)
			add(&n.namespaces, "", p.Namespace)
		}
		for _, r := range s.Flows {
			end(r.Event.Source)
			end(r.Event.Destination)
			end(r.Event.Backend)
		}
		for _, r := range s.Workloads {
			if r.Namespace != "" {
				add(&n.workloads, r.Namespace, r.Name)
				add(&n.namespaces, "", r.Namespace)
			}
		}
		for _, r := range source.Snapshot(store.Query{Workloads: true, GroupBy: "pod", Limit: mostNames}).Workloads {
			if name := strings.TrimPrefix(r.Name, "pod/"); r.Namespace != "" && !strings.Contains(name, "/") {
				add(&n.pods, r.Namespace, name)
			}
		}
		for _, r := range s.Policies {
			add(&n.policies, r.Namespace, r.Name)
		}
		for _, r := range s.Nodes {
			add(&n.nodes, "", r.Node)
		}
		n.labels = typable(labels)
		for _, list := range []*[]string{&n.pods, &n.workloads, &n.namespaces, &n.services, &n.nodes, &n.policies} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
			*list = (*list)[:min(len(*list), mostNames)]
		}
		return namesMsg(n)
	}
}

func add(list *[]string, namespace, name string) {
	if name = part.Clean(name); name == "" || strings.ContainsAny(name, " =,*()") {
		return // it can't be typed as a word
	}
	if namespace != "" {
		name = part.Clean(namespace) + "/" + name
	}
	*list = append(*list, name)
}

// last is what stands behind the last slash: of "shop/deploy/web" "web".
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// calls are the ways to type a name: by itself first, then with its namespace.
func calls(list []string) []string {
	var out []string
	for _, n := range list {
		out = append(out, last(n))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	for _, n := range list {
		if strings.Contains(n, "/") {
			out = append(out, n)
		}
	}
	return out
}

// ofKind are the workloads of a kind, as "shop/web" for "shop/deploy/web".
func (n *names) ofKind(kind string) []string {
	var out []string
	for _, w := range n.workloads {
		if rest, name, ok := strings.Cut(w, "/"+kind+"/"); ok {
			out = append(out, rest+"/"+name)
		}
	}
	return out
}

// mostSaid is how many names a message lists.
const mostSaid = 3

// some lists a few of many.
func some(list []string) string {
	if rest := len(list) - mostSaid; rest > 1 {
		return strings.Join(list[:mostSaid], ", ") + " and " + part.Count(uint64(rest)) + " more"
	}
	return strings.Join(list, ", ")
}

// look is a command's argument that names one of list: it goes to the flows of
// whoever is called so. What is only the beginning of a name means all whose names
// begin like it; one is what noun calls. In a term the name stands behind lead.
func (m *Model) look(noun, field, lead, arg string, list []string) tea.Cmd {
	if arg == "" {
		return m.all(noun, list)
	}
	switch { // as k9s takes them
	case strings.HasPrefix(arg, "/"):
		return m.flowsBy(arg[1:])
	case strings.Contains(arg, "="):
		return m.flowsBy("-l " + arg)
	}
	value, said := arg, ""
	if !strings.ContainsAny(arg, "*,") && len(list) > 0 {
		begin := func(n string) bool { return folded(last(n), arg) || strings.Contains(arg, "/") && folded(n, arg) }
		found := slices.DeleteFunc(slices.Clone(list), func(n string) bool { return !begin(n) })
		exact := slices.ContainsFunc(found, func(n string) bool { return strings.EqualFold(n, arg) || strings.EqualFold(last(n), arg) })
		switch {
		case exact:
		case len(found) == 1:
			value = found[0]
		case len(found) > 1:
			value += "*"
			said = part.Of(uint64(len(found)), nouns(noun)) + " begin like that: " + some(found) + "."
		case slices.Contains(m.names.namespaces, arg):
			return m.flowsBy("ns=" + arg)
		default:
			s := "No " + nouns(noun) + " that was seen is called " + part.Clean(arg) + "."
			if like := nearest.Of(arg, calls(list), 1); len(like) > 0 {
				return m.say(s+" Did you mean "+like[0]+"?", true)
			}
			return m.say(s+" Seen so far: "+some(list)+".", true)
		}
	}
	if lead != "" { // the kind stands between namespace and name
		if ns, name, ok := strings.Cut(value, "/"); ok {
			value = ns + "/" + lead + name
		} else {
			value = lead + value
		}
	}
	return tea.Batch(m.flowsBy(field+"="+value), m.say(said, false))
}

// flowsBy goes to the flows that a filter leaves.
func (m *Model) flowsBy(filter string) tea.Cmd {
	cmd := m.open(m.roots[1])
	return tea.Batch(cmd, m.filter(m.page().(page.Filterer), filter)) //nolint:forcetypeassert // flows can be filtered
}

// all is a command that would name one of something, but doesn't: all of them,
// where a page lists them.
func (m *Model) all(noun string, list []string) tea.Cmd {
	switch noun {
	case "pod":
		return m.group("pod")
	case "ns":
		return m.group("namespace")
	case "node":
		return m.run("nodes")
	case "svc":
		return m.say("Name one, as in :svc "+example(list)+", or filter by other words with /.", true)
	}
	return m.group("workload")
}

// folded is whether s begins like prefix, in any case.
func folded(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func example(list []string) string {
	if len(list) == 0 {
		return "web"
	}
	return last(list[0])
}

// nouns is what a command's short name stands for.
func nouns(command string) string {
	if n, ok := map[string]string{"ns": "namespace", "svc": "service", "deploy": "Deployment", "sts": "StatefulSet", "ds": "DaemonSet", "job": "Job", "cronjob": "CronJob"}[command]; ok {
		return n
	}
	return command
}

// terms are what the last word of a filter could become, each with what stands
// before that word.
func (m *Model) terms(text string) []string {
	if strings.HasPrefix(strings.TrimLeft(text, " /"), "-l") {
		return m.labelTerms(text)
	}
	at := strings.LastIndexByte(text, ' ') + 1
	before, word := text[:at], text[at:]
	if word == "" || word == "!" {
		return nil
	}
	var out []string
	f, typed, ok := strings.Cut(word, "=")
	if !ok {
		for _, name := range m.fields() {
			out = append(out, before+name+"=")
		}
		return out
	}
	lead := before + f + "="
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		lead += typed[:i+1]
	}
	for _, v := range m.values(strings.TrimSuffix(f, "!")) {
		out = append(out, lead+v)
	}
	return out
}

// fields are what the page on the screen can be filtered by.
func (m *Model) fields() []string {
	if f, ok := m.page().(page.Fielder); ok {
		return f.Fields()
	}
	return store.FilterFields()
}

// values are the words that a field can be, as far as they are known.
func (m *Model) values(field string) []string {
	if f, ok := m.page().(page.Fielder); ok {
		if v := f.Values(field); len(v) > 0 {
			return v
		}
	}
	n := &m.names
	switch field {
	case "pod":
		return calls(n.pods)
	case "workload":
		return calls(n.workloads)
	case "ns", "namespace":
		return n.namespaces
	case "service", "svc":
		return calls(n.services)
	case "node":
		return n.nodes
	case "rule", "policy", "name":
		return calls(n.policies)
	case "from", "to", "src", "dst", "source", "destination":
		list := append(calls(n.workloads), calls(n.services)...)
		return append(append(list, n.namespaces...), calls(n.pods)...)
	}
	return store.FilterWords(field)
}
