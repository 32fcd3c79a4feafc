// SPDX-License-Identifier: Apache-2.0

package tui

import (
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"github.com/ebpol/kubectl-ebpol/tui/terminal"
)

// screen is the model as Bubble Tea runs it: Bubble Tea is told the modes of
// the terminal, and that nothing stands on it; the painter gets what does.
type screen struct {
	*Model
	painter *terminal.Painter
	clock   *clock // nil: Bubble Tea's own goes on
}

var _ tea.Model = (*screen)(nil)

// Update tells the painter what it must know of the terminal.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	s.clock.heard()
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.painter.Resize(msg.Width, msg.Height)
	case tea.ModeReportMsg:
		if msg.Mode == ansi.ModeSynchronizedOutput && msg.Value == ansi.ModeReset {
			s.painter.Synchronized()
		}
	case tea.ColorProfileMsg:
		if msg.Profile < colorprofile.ANSI && !s.opt.NoColor {
			s.opt.NoColor = true
			s.theme(s.env.Theme.Light)
		}
	}
	_, cmd := s.Model.Update(msg)
	return s, cmd
}

// View shows the frame, unless it stands there already.
func (s *screen) View() tea.View {
	v := s.Model.View()
	s.painter.Show(v.Content)
	v.Content = " "
	return v
}
