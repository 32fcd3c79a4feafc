// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/page"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

func unknownPage(name string) error {
	return fmt.Errorf("page %q: there is top, flows, changes, connections, drops, policies, nodes, timeline and matrix", name)
}

// copy puts the row under the cursor on the clipboard by OSC 52, which works
// through ssh and tmux where the terminal allows it.
func (m *Model) copy() tea.Cmd {
	c, ok := m.page().(page.Copier)
	if !ok {
		return nil
	}
	text := c.Copy()
	if text == "" {
		return m.say("There is nothing under the cursor to copy.", true)
	}
	return tea.Batch(tea.SetClipboard(text), m.say("Copied, if the terminal lets programs reach its clipboard.", false))
}

// wholeMsg brings all rows of a page that shows part of them.
type wholeMsg struct {
	page   page.Page
	digest any
}

// export writes what the page shows to a file: all rows of its question, also
// those above and below the screen; of a frozen screen those of its moment.
func (m *Model) export() tea.Cmd {
	x, ok := m.page().(page.Exporter)
	if !ok {
		return m.say("This page has nothing to export.", true)
	}
	p, source := m.page(), m.source()
	if w, ok := p.(page.Wholer); ok && (!m.frozen || m.moment != nil) {
		q, digest := w.Whole(p.Ask)
		return func() tea.Msg { return wholeMsg{p, digest(source.Snapshot(q))} }
	}
	lines, ext := x.Export()
	return m.write(p, lines, ext, "")
}

// exported writes what came of a Wholer's question.
func (m *Model) exported(msg wholeMsg) tea.Cmd {
	var lines []string
	var ext string
	rows, total := msg.page.(page.Wholer).Lend(msg.digest, func() { lines, ext = msg.page.(page.Exporter).Export() }) //nolint:forcetypeassert // both were asked before
	what := ""
	if rows < total {
		what = part.Count(uint64(rows)) + " of " + part.Of(uint64(total), "row")
	}
	return m.write(msg.page, lines, ext, what)
}

// write makes a file of a page's lines; what says how many, if not all.
func (m *Model) write(p page.Page, lines []string, ext, what string) tea.Cmd {
	if len(lines) == 0 {
		return m.say("There is nothing to export yet.", true)
	}
	name := m.file(p.Name()+"-", "."+ext)
	if what == "" {
		what = plural(len(lines), "line")
	}
	return func() tea.Msg {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return page.DoneMsg{Err: fmt.Errorf("export: %w; start the program in a folder that you may write to", err)}
		}
		_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return page.DoneMsg{Err: fmt.Errorf("export: %w", err)}
		}
		return page.DoneMsg{Good: fmt.Sprintf("Wrote %s to %s", what, name)}
	}
}

// file is a new file's name, by the screen's time: that of a frozen screen or a
// recording that pauses doesn't go on, so names of the same second are counted.
func (m *Model) file(what, ext string) string {
	base := filepath.Join(m.env.ExportDir, "ebpol-"+what+m.env.Now.UTC().Format("20060102-150405"))
	if m.files == nil {
		m.files = map[string]int{}
	}
	m.files[base+ext]++
	if n := m.files[base+ext]; n > 1 {
		return base + "-" + strconv.Itoa(n) + ext
	}
	return base + ext
}

// record starts to write what is known and what comes to a new file, or ends
// that.
func (m *Model) record() tea.Cmd {
	r, ok := m.opt.Actions.(Recorder)
	if !ok {
		return m.say("Start with --record FILE to keep a recording.", true)
	}
	if file := r.Recording(); file != "" {
		return act("record", "Recorded in "+file+". See it again with: kubectl ebpol replay "+file, r.StopRecord)
	}
	if why := m.opt.Actions.Can("record"); why != "" {
		return m.say(why, true)
	}
	name := m.file("", ".ebpol")
	return act("record", "Recording to "+name+", with all that is known so far. s ends it.", func(ctx context.Context) error {
		err := r.Record(ctx, name)
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			err = fmt.Errorf("%w; start the program in a folder that you may write to", err)
		}
		return err
	})
}

// act runs an action in a command; what names it in an error.
func act(what, good string, do func(context.Context) error) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := do(ctx); err != nil {
			return page.DoneMsg{Err: fmt.Errorf("%s: %w", what, err)}
		}
		return page.DoneMsg{Good: good}
	}
}

// release ends enforcement. It is the safe direction: nobody is asked.
func (m *Model) release() tea.Cmd {
	if !m.env.Health.Enforcing {
		return m.say("Nothing is being enforced.", false)
	}
	a := m.opt.Actions
	m.released = true
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := a.Release(ctx); err != nil {
			return page.DoneMsg{Err: fmt.Errorf("release: %w; the lease ends by itself within seconds once this program is closed", err)}
		}
		return page.DoneMsg{Good: "Released: nothing is enforced any more."}
	}
}

// mouse moves the cursor by wheel and click; a click on the row under the
// cursor opens it, one on a tab or crumb goes there.
func (m *Model) mouse(msg tea.MouseMsg) tea.Cmd {
	if m.prompt != nil {
		return nil
	}
	at := msg.Mouse()
	m.env.Touched = true
	p, ok := m.page().(page.Mouser)
	switch msg.(type) {
	case tea.MouseWheelMsg:
		if !ok {
			return nil
		}
		m.dirty, m.hurry = true, hurryFor
		switch at.Button {
		case tea.MouseWheelUp:
			p.Wheel(-3)
		case tea.MouseWheelDown:
			p.Wheel(3)
		}
		return m.renew()
	case tea.MouseClickMsg:
		if at.Button != tea.MouseLeft {
			return nil
		}
		m.dirty, m.hurry = true, hurryFor
		if m.tabLines() > 0 && at.Y == m.header() {
			for _, s := range m.tabs {
				if at.X >= s.from && at.X < s.to {
					return s.open()
				}
			}
			return nil
		}
		if ok && at.Y >= m.body && at.Y < m.body+m.room() {
			eff := p.Click(at.X, at.Y-m.body)
			if eff.Again { // as a second click does elsewhere
				eff, _ = m.page().Key(tea.KeyPressMsg{Code: tea.KeyEnter})
			}
			return m.apply(eff)
		}
	}
	return nil
}
