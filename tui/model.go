// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/page"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Model is the root: it owns the stack of pages, the prompts, the pace, and
// the frame around a page. It is used by one goroutine.
type Model struct {
	opt   Options
	trace func(tea.Msg)                        // nil: not traced
	after func(time.Duration, tea.Msg) tea.Cmd // sends a message later; tests take the clock away
	env   *page.Env
	roots []page.Page // the tabs, in order
	stack []page.Page // what is open: a root, and what was opened from it

	width, height         int
	nextWidth, nextHeight int
	resizes               int

	prompt  *part.Prompt
	undo    string              // the filter before the prompt
	names   names               // what prompts complete
	files   map[string]int      // how many files got a name
	said    map[string][]string // what was typed into prompts, by their sign; the newest last
	toast   string
	bad     bool
	toasts  int
	leaving bool // q was pressed once while enforcing

	released bool // the lease ends because somebody said so

	frozen bool
	held   map[page.Page]held // what pages show while the screen is frozen
	moment *moment            // what they are asked of then; nil: not frozen, or it can't be held
	narrow narrowing
	asked  struct {
		page  page.Page
		rev   int
		seq   uint64
		query store.Query
	}
	fresh    bool // the page shows the answer to its question
	inflight bool
	shown    uint64 // id of the snapshot on the screen
	noticed  int    // how many of the session's notices were said
	version  uint64
	took     time.Duration
	tooks    [3]time.Duration // the last snapshots'
	hurry    int
	quiet    int
	chain    int    // of ticks
	waits    func() // ends the wait for the source; nil: it isn't waited for

	dirty   bool
	content string
	renders int // how often content was made; tests count it
	tabs    []span
	body    int // first line of the page
}

// span is where a tab or a crumb was drawn, and what a click there does.
type span struct {
	from, to int
	open     func() tea.Cmd
}

var _ tea.Model = (*Model)(nil)

// New makes the model; Run runs it. Tests drive it by messages.
func New(o Options) (*Model, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	o.NoColor = o.NoColor || os.Getenv("NO_COLOR") != ""
	m := &Model{opt: o, dirty: true, hurry: hurryFor, after: func(d time.Duration, msg tea.Msg) tea.Cmd {
		return tea.Tick(d, func(time.Time) tea.Msg { return msg })
	}}
	m.env = &page.Env{
		Keys: keys.Default(), Actions: o.Actions, Parse: o.Parse,
		EnforceFor: o.EnforceFor, ExportDir: o.ExportDir,
	}
	m.theme(o.Light != nil && *o.Light)
	m.roots = []page.Page{
		page.NewTop(m.env), page.NewTalks(m.env), page.NewDrops(m.env), page.NewPolicies(m.env),
		page.NewNodes(m.env), page.NewTimeline(m.env), page.NewMatrix(m.env),
	}
	m.stack = []page.Page{m.roots[0]}
	return m, m.start()
}

func (m *Model) theme(light bool) {
	m.env.Theme = style.New(style.Options{Light: light, NoColor: m.opt.NoColor, ASCII: m.opt.ASCII})
	m.dirty = true
}

func (m *Model) page() page.Page { return m.stack[len(m.stack)-1] }

// Init starts the clock.
func (m *Model) Init() tea.Cmd {
	cmds := []tea.Cmd{m.ask(), m.tick()}
	if m.opt.Light == nil {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	return tea.Batch(cmds...)
}

// Update routes a message.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if m.trace != nil {
		m.trace(msg)
	}
	switch msg := msg.(type) {
	case tickMsg:
		if msg.chain != m.chain {
			return m, nil
		}
		m.waits = nil
		if m.inflight {
			return m, m.tick()
		}
		return m, tea.Batch(m.ask(), m.tick())
	case snapMsg:
		return m, m.take(msg)
	}
	return m, tea.Batch(m.heed(msg), m.wake())
}

// heed is for all messages but those that come with the clock.
func (m *Model) heed(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		return m.resize(msg)
	case settledMsg:
		m.settled(msg)
		return nil
	case tea.BackgroundColorMsg:
		if m.opt.Light == nil {
			m.theme(!msg.IsDark())
		}
		return nil
	case tea.KeyPressMsg:
		m.dirty = true
		return m.key(msg)
	case tea.PasteMsg:
		if m.prompt != nil {
			m.dirty = true
			m.prompt.Insert(msg.Content)
			return m.typed()
		}
		return nil
	case tea.MouseMsg:
		return m.mouse(msg)
	case toastMsg:
		if msg.n == m.toasts && m.toast != "" {
			m.toast, m.dirty = "", true
		}
		return nil
	case wholeMsg:
		m.dirty = true
		return m.exported(msg)
	case namesMsg:
		m.names, m.dirty = names(msg), true
		m.suggest()
		return nil
	case narrowedMsg:
		return m.narrowed(msg)
	case page.DoneMsg:
		m.dirty = true
		m.hurry = hurryFor
		var again tea.Cmd
		if msg.Past != nil {
			m.env.Past, m.fresh = *msg.Past, false
			again = m.grasp()
		}
		if msg.Err != nil {
			return tea.Batch(again, m.say(msg.Err.Error(), true))
		}
		return tea.Batch(again, m.say(msg.Good, false))
	}
	if t, ok := m.page().(page.Taker); ok {
		m.dirty = true
		return m.apply(t.Take(msg))
	}
	return nil
}

// settledMsg says that a size has lasted.
type settledMsg struct{ n int }

// resize takes the first size at once and each later one when the window has
// come to rest: a dragged corner sends dozens.
func (m *Model) resize(msg tea.WindowSizeMsg) tea.Cmd {
	m.nextWidth, m.nextHeight = msg.Width, msg.Height
	m.resizes++
	n := m.resizes
	if m.width == 0 {
		m.settled(settledMsg{n})
		return m.renew()
	}
	return m.after(settle, settledMsg{n})
}

func (m *Model) settled(msg settledMsg) {
	if msg.n != m.resizes || m.width == m.nextWidth && m.height == m.nextHeight {
		return
	}
	m.width, m.height = max(0, m.nextWidth), max(0, m.nextHeight)
	m.layout()
}

// layout gives the page on top its room.
func (m *Model) layout() {
	m.dirty = true
	m.page().Resize(m.width, m.room())
}

// apply does what a page wants beyond itself.
func (m *Model) apply(eff page.Effect) tea.Cmd {
	cmds := []tea.Cmd{eff.Cmd}
	if eff.Pop && len(m.stack) > 1 {
		m.stack = m.stack[:len(m.stack)-1]
		m.layout()
	}
	if eff.Push != nil {
		m.toast = ""
		cmds = append(cmds, m.push(eff.Push))
	}
	if eff.Toast != "" {
		cmds = append(cmds, m.say(eff.Toast, eff.Bad))
	}
	if eff.Run != "" {
		cmds = append(cmds, m.run(eff.Run))
	}
	cmds = append(cmds, m.renew())
	return tea.Batch(cmds...)
}

// maxDepth bounds the crumbs: nobody walks back further.
const maxDepth = 16

func (m *Model) push(p page.Page) tea.Cmd {
	if len(m.stack) >= maxDepth {
		m.stack = append(m.stack[:1], m.stack[2:]...)
	}
	if f, ok := p.(page.Freezer); ok && m.frozen && m.moment == nil {
		f.Freeze(true)
	}
	m.stack = append(m.stack, p)
	m.layout()
	return m.renew()
}

// open leaves all crumbs and goes to a tab.
func (m *Model) open(root page.Page) tea.Cmd {
	if !m.bad {
		m.toast = "" // it was about the page before
	}
	m.stack = []page.Page{root}
	m.layout()
	return m.renew()
}

func (m *Model) tab(by int) tea.Cmd {
	for i, r := range m.roots {
		if r == m.stack[0] {
			return m.open(m.roots[(i+by+len(m.roots))%len(m.roots)])
		}
	}
	return nil
}

// climb goes back to one of the crumbs: the first so many pages stay open.
func (m *Model) climb(keep int) tea.Cmd {
	if keep < len(m.stack) {
		m.stack = m.stack[:keep]
		m.layout()
	}
	return m.renew()
}

// back clears a filter, or else leaves the page; a message goes with either.
func (m *Model) back() tea.Cmd {
	m.toast = ""
	if f, ok := m.page().(page.Filterer); ok && f.Filter() != "" {
		_ = f.SetFilter("") // the empty filter always compiles
		return m.renew()
	}
	if len(m.stack) > 1 {
		m.stack = m.stack[:len(m.stack)-1]
		m.layout()
	}
	return m.renew()
}

func (m *Model) wide() tea.Cmd {
	if w, ok := m.page().(page.Widener); !ok || !w.Widens() {
		return m.say("This page has no further columns.", false)
	}
	m.env.Wide = !m.env.Wide
	return nil
}

func (m *Model) trouble(on bool) tea.Cmd {
	if s, ok := m.page().(page.Sifter); on && (!ok || !s.Sifts()) {
		return m.say("Everything on this page is worth a look already.", false)
	}
	m.env.Trouble = on
	m.asked.page = nil // every page's question has changed
	m.asked.seq++
	return m.renew()
}

// toastMsg ends the n-th toast.
type toastMsg struct{ n int }

func (m *Model) say(text string, bad bool) tea.Cmd {
	if text == "" {
		return nil
	}
	m.toast, m.bad, m.dirty = part.Clean(text), bad, true
	m.toasts++
	n, long := m.toasts, 5*time.Second
	if bad {
		long = 12 * time.Second
	}
	return m.after(long, toastMsg{n})
}
