// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
	"github.com/ebpol/kubectl-ebpol/tui/page"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// command is one of the `:` commands.
type command struct {
	name, words string // words: what the help says
	alias       []string
	args        func(*Model) []string // completions of the argument
	run         func(m *Model, arg string) tea.Cmd
}

// commands are in the order of the help; pages come first.
func commands() []command {
	var out []command
	for i, name := range []string{"top", "flows", "drops", "policies", "nodes", "timeline", "matrix"} {
		out = append(out, command{name: name, words: "page " + string(rune('1'+i)), run: func(m *Model, arg string) tea.Cmd {
			cmd := m.open(m.roots[i])
			if f, ok := m.page().(page.Filterer); ok && arg != "" {
				return tea.Batch(cmd, m.filter(f, arg))
			}
			return cmd
		}})
	}
	for i, alias := range [][]string{nil, nil, {"events", "ev"}, {"policy", "netpol", "np", "networkpolicies"}, {"no"}} {
		if i == 2 {
			i = 5 // the events are the timeline
		}
		out[i].alias = alias
	}
	pods := func(m *Model) []string { return m.names.pods }
	out = append(out,
		command{name: "changes", words: "flows that the candidate changes", alias: []string{"diff", "dry-run"}, run: func(m *Model, _ string) tea.Cmd { return m.changes() }},
		command{name: "connections", words: "each connection by itself", alias: []string{"conns"}, run: func(m *Model, _ string) tea.Cmd {
			return tea.Batch(m.open(m.roots[1]), m.push(page.NewFlows(m.env, "", nil)))
		}},
		command{name: "why", words: "the story of what is under the cursor", run: func(m *Model, _ string) tea.Cmd { return m.why() }},
		about("pod", "flows of a pod: pod web-0, or of all that begin like it", []string{"po", "pods"}, "pod", "", pods),
		about("ns", "flows of a namespace: ns shop", []string{"namespace", "namespaces"}, "ns", "", func(m *Model) []string { return m.names.namespaces }),
		about("svc", "flows of a service: svc db", []string{"service", "services"}, "service", "", func(m *Model) []string { return m.names.services }),
		about("node", "flows seen at a node: node n1", nil, "node", "", func(m *Model) []string { return m.names.nodes }),
	)
	for _, k := range kinds {
		c := about(k.name, "", k.alias, "workload", k.name+"/", func(m *Model) []string { return m.names.ofKind(k.name) })
		if k.name == "deploy" {
			c.words = "flows of a workload: deploy web; also sts, ds, job, cronjob"
		}
		out = append(out, c)
	}
	return append(out,
		command{name: "sort", words: "sort by a column: sort rate", run: func(m *Model, arg string) tea.Cmd { return m.sort(arg) }, args: func(m *Model) []string {
			if s, ok := m.page().(sorter); ok {
				return s.Columns()
			}
			return nil
		}},
		command{name: "group", words: "top by " + orOf(page.Groups()), run: func(m *Model, arg string) tea.Cmd { return m.group(arg) }, args: func(*Model) []string { return page.Groups() }},
		command{name: "freeze", words: "stop the page, not the counters", run: func(m *Model, _ string) tea.Cmd { return m.freeze(!m.frozen) }},
		command{name: "trouble", words: "only rows with trouble", run: func(m *Model, _ string) tea.Cmd { return m.trouble(!m.env.Trouble) }},
		command{name: "wide", words: "more columns", run: func(m *Model, _ string) tea.Cmd { return m.wide() }},
		command{name: "release", words: "end enforcement now", run: func(m *Model, _ string) tea.Cmd { return m.release() }},
		command{name: "export", words: "write what is shown to a file", run: func(m *Model, _ string) tea.Cmd { return m.export() }},
		command{name: "save", words: "save a recording, or end it", alias: []string{"record"}, run: func(m *Model, _ string) tea.Cmd { return m.record() }},
		command{name: "mouse", words: "give the mouse back to the terminal, or take it", run: func(m *Model, _ string) tea.Cmd { return m.mice() }},
		command{name: "help", words: "all keys", run: func(m *Model, _ string) tea.Cmd {
			return m.push(page.NewHelp(m.env, m.page(), commandHelp()))
		}},
		command{name: "quit", words: "leave", alias: []string{"q", "q!", "wq"}, run: func(*Model, string) tea.Cmd { return tea.Quit }},
	)
}

// why opens what enter opens, where that is a story or leads to one.
func (m *Model) why() tea.Cmd {
	_, policies := m.page().(*page.Policies)
	opens := slices.ContainsFunc(m.page().Footer(), func(b key.Binding) bool { return b.Help().Key == m.env.Keys.Enter.Help().Key })
	if c, ok := m.page().(page.Counter); ok && opens && !policies {
		if _, total := c.Position(); total > 0 {
			eff, _ := m.page().Key(tea.KeyPressMsg{Code: tea.KeyEnter})
			return m.apply(eff)
		}
	}
	return m.say("There is no row here to tell the story of. Choose one of the flows (key 2) and press enter.", true)
}

// orOf writes a choice: "a, b or c".
func orOf(list []string) string {
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

type sorter interface {
	Sort(column string)
	Columns() []string
}

// mice gives the mouse to the terminal, which can mark and copy text, or takes it.
func (m *Model) mice() tea.Cmd {
	m.opt.NoMouse = !m.opt.NoMouse
	if m.opt.NoMouse {
		return m.say("The mouse is the terminal's: it marks text. :mouse takes it back.", false)
	}
	return m.say("The mouse is the screen's: it chooses, sorts and scrolls.", false)
}

func commandHelp() [][2]string {
	var out [][2]string
	for _, c := range commands() {
		if c.words != "" {
			out = append(out, [2]string{":" + c.name, c.words})
		}
	}
	return out
}

func (m *Model) openCommand() tea.Cmd {
	m.toast = "" // it was about what was done before
	m.prompt = part.NewPrompt(":", "")
	m.suggest()
	m.prompt.Recalls(m.said[":"])
	m.prompt.Hint = "policies, sort rate, group pod, ...: tab completes, ? lists them all, esc cancels"
	return m.learn()
}

func (m *Model) openFilter() tea.Cmd {
	f, ok := m.page().(page.Filterer)
	if !ok {
		return m.say("This page has nothing to filter.", true)
	}
	m.undo = f.Filter()
	m.toast = ""
	m.prompt = part.NewPrompt("/", m.undo)
	m.prompt.Recalls(m.said["/"])
	m.prompt.Hint = "db, or !db, or -l app=db, or to=db port=5432 verdict=would-deny; esc cancels"
	if f, ok := m.page().(page.Fielder); ok {
		m.prompt.Hint = "db, or !db, or by " + orOf(f.Fields()) + "=...; esc cancels"
	}
	return m.learn()
}

// promptKey gives a key to the open prompt.
func (m *Model) promptKey(msg tea.KeyPressMsg) tea.Cmd {
	k := m.env.Keys
	switch {
	case key.Matches(msg, k.Cancel):
		if f, ok := m.page().(page.Filterer); ok && m.prompt.Sign == "/" {
			_ = f.SetFilter(m.undo) // it compiled when it was set
		}
		m.prompt = nil
		return m.renew()
	case key.Matches(msg, k.Accept):
		if m.prompt.Error != "" {
			return nil
		}
		sign, text := m.prompt.Sign, m.prompt.Value()
		m.prompt = nil
		m.remember(sign, text)
		if sign == ":" {
			return m.run(text)
		}
		return m.renew()
	case msg.String() == "backspace" && m.prompt.Value() == "":
		m.prompt = nil
		return m.renew()
	}
	m.prompt.Update(msg)
	return m.typed()
}

// maxSaid is how many lines of a prompt can be called back.
const maxSaid = 50

// remember keeps a line for ↑ in the next prompt of the kind.
func (m *Model) remember(sign, text string) {
	past := m.said[sign]
	if strings.TrimSpace(text) == "" || len(past) > 0 && past[len(past)-1] == text {
		return
	}
	if m.said == nil {
		m.said = map[string][]string{}
	}
	past = append(slices.Clone(past), text)
	m.said[sign] = past[max(0, len(past)-maxSaid):]
}

// typed applies a filter while it is being typed; what doesn't compile yet is
// said beside the prompt and leaves the last good filter in place.
func (m *Model) typed() tea.Cmd {
	m.suggest()
	f, ok := m.page().(page.Filterer)
	if !ok || m.prompt == nil || m.prompt.Sign != "/" {
		return nil
	}
	m.prompt.Error = ""
	if err := f.SetFilter(m.prompt.Value()); err != nil {
		m.prompt.Error = err.Error()
	}
	return m.renew()
}

func (m *Model) filter(f page.Filterer, text string) tea.Cmd {
	if err := f.SetFilter(text); err != nil {
		return m.say(err.Error(), true)
	}
	return m.renew()
}

// run executes a line typed after ":".
func (m *Model) run(line string) tea.Cmd {
	name, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	arg = strings.TrimSpace(arg)
	if name == "" {
		return nil
	}
	all := commands()
	for _, c := range all {
		if c.name == name || slices.Contains(c.alias, name) {
			return c.run(m, arg)
		}
	}
	var near []string
	for _, c := range all {
		if strings.HasPrefix(c.name, name) {
			near = append(near, c.name)
		}
	}
	switch len(near) {
	case 1:
		return m.run(near[0] + " " + arg)
	case 0:
		var names []string
		for _, c := range all {
			names = append(append(names, c.name), c.alias...)
		}
		if like := nearest.Of(name, names, 1); len(like) > 0 {
			return m.say("There is no command :"+name+". Did you mean :"+like[0]+"? Tab completes, ? lists them all.", true)
		}
		return m.say("There is no command :"+name+". ? lists them all.", true)
	}
	return m.say(":"+name+" could be "+strings.Join(near, ", ")+".", true)
}

func (m *Model) sort(column string) tea.Cmd {
	s, ok := m.page().(sorter)
	if !ok {
		return m.say("This page has nothing to sort.", true)
	}
	if !slices.Contains(s.Columns(), column) {
		return m.say("Sort by one of "+strings.Join(s.Columns(), ", ")+".", true)
	}
	s.Sort(column)
	return m.renew()
}

func (m *Model) group(by string) tea.Cmd {
	top, ok := m.roots[0].(*page.Top)
	if !ok || !top.Group(by) {
		return m.say("Group by "+orOf(page.Groups())+".", true)
	}
	return m.open(top)
}

func (m *Model) changes() tea.Cmd {
	if f, ok := m.roots[1].(*page.Talks); ok {
		f.Changes(true)
	}
	return m.open(m.roots[1])
}

// start opens the page that the options ask for.
func (m *Model) start() error {
	switch m.opt.StartPage {
	case "":
	case "changes":
		m.changes()
	case "connections":
		m.stack = []page.Page{m.roots[1], page.NewFlows(m.env, "", nil)}
	default:
		found := false
		for _, r := range m.roots {
			if r.Name() == m.opt.StartPage {
				m.stack, found = []page.Page{r}, true
			}
		}
		if !found {
			return unknownPage(m.opt.StartPage)
		}
	}
	if f, ok := m.page().(page.Filterer); ok && m.opt.Filter != "" {
		if err := f.SetFilter(m.opt.Filter); err != nil {
			return err
		}
	}
	if s, ok := m.page().(sorter); ok && m.opt.Sort != "" {
		s.Sort(m.opt.Sort)
	}
	m.inflight, m.asked.page, m.asked.seq = false, nil, 0
	return nil
}
