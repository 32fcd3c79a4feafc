// SPDX-License-Identifier: Apache-2.0

package part

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Prompt is a line of input after a sign such as "/" or ":".
type Prompt struct {
	Sign  string
	Error string // why the text can't be taken; whoever draws the prompt says it
	Hint  string // shown while nothing is typed
	input textinput.Model

	cycle []string // what the text could become when tab was pressed first; nil: another key was pressed since
	turn  int

	past  []string // what was typed into earlier prompts, the newest last
	at    int      // which of them is shown; len(past): draft
	draft string   // what was being typed before one was
}

// maxPrompt is how many characters can be typed.
const maxPrompt = 500

// NewPrompt opens a prompt with a text.
func NewPrompt(sign, text string) *Prompt {
	p := &Prompt{Sign: sign, input: textinput.New()}
	p.input.CharLimit = maxPrompt
	p.input.SetValue(Clean(text))
	p.input.CursorEnd()
	p.input.ShowSuggestions = true
	p.input.Focus()
	return p
}

// Recalls gives the prompt what was typed before, the newest last.
func (p *Prompt) Recalls(past []string) { p.past, p.at = past, len(past) }

// recall shows an earlier or later line, as a shell does.
func (p *Prompt) recall(step int) {
	to := min(max(p.at+step, 0), len(p.past))
	if to == p.at {
		return
	}
	if p.at == len(p.past) {
		p.draft = p.input.Value()
	}
	p.at = to
	text := p.draft
	if to < len(p.past) {
		text = p.past[to]
	}
	p.input.SetValue(text)
	p.input.CursorEnd()
}

// complete takes the first of what the text could become, then, as often as it is
// asked again, the next.
func (p *Prompt) complete() {
	if p.cycle == nil {
		p.cycle, p.turn = p.choices(), p.input.CurrentSuggestionIndex()
	} else {
		p.turn++
	}
	n := len(p.cycle)
	if n > 0 {
		p.input.SetValue(p.cycle[p.turn%n])
		p.input.CursorEnd()
	}
	if n < 2 {
		p.cycle = nil // the next one is about what there is now
	}
}

// choices are what the text could become, but itself.
func (p *Prompt) choices() []string {
	return slices.DeleteFunc(p.input.MatchedSuggestions(), func(s string) bool { return s == p.input.Value() })
}

// Choices is how many texts tab leads to.
func (p *Prompt) Choices() int {
	if p.cycle != nil {
		return len(p.cycle)
	}
	return len(p.choices())
}

// Update edits the text.
func (p *Prompt) Update(msg tea.Msg) {
	if k, ok := msg.(tea.KeyPressMsg); ok {
		if k.String() == "tab" {
			p.complete()
			return
		}
		p.cycle = nil
		switch k.String() {
		case "up":
			p.recall(-1)
			return
		case "down":
			p.recall(1)
			return
		case "ctrl+n", "ctrl+p":
			// Without a suggestion, the input would choose the one before the first.
			if len(p.input.MatchedSuggestions()) == 0 {
				return
			}
		}
	}
	p.input, _ = p.input.Update(msg) // the command only blinks a cursor that isn't shown
}

// Insert types text, such as what was pasted; its first line counts.
func (p *Prompt) Insert(text string) {
	line, _, _ := strings.Cut(text, "\n")
	p.Update(tea.PasteMsg{Content: Clean(line)})
}

// Value is what was typed.
func (p *Prompt) Value() string { return p.input.Value() }

// SetSuggestions replaces what the text may be completed to.
func (p *Prompt) SetSuggestions(s []string) { p.input.SetSuggestions(s) }

// View draws the line in exactly width cells, the end of a long text.
func (p *Prompt) View(width int, th *style.Theme) string {
	value := []rune(p.input.Value())
	at := min(p.input.Position(), len(value))
	before, under, after := string(value[:at]), " ", ""
	if at < len(value) {
		under, after = string(value[at]), string(value[at+1:])
	}
	rest := "" // what tab would add; the cursor stands on its first letter
	if after == "" && under == " " && p.input.ShowSuggestions && p.Error == "" {
		if s := p.input.CurrentSuggestion(); len(s) > len(p.input.Value()) {
			r := []rune(s[len(p.input.Value()):])
			under, rest = string(r[0]), string(r[1:])
		}
	}
	room := width - Width(p.Sign) - 1
	for Width(before) > max(0, room-1) && before != "" {
		before = string([]rune(before)[1:])
	}
	line := th.Key.S(p.Sign) + th.Match.S(before) + th.Cursor.S(under) + th.Match.S(after)
	line += th.Dim.S(rest)
	if len(value) == 0 && p.Hint != "" {
		line += " " + th.Dim.S(p.Hint)
	}
	return Cut(line, width, th.Ellipsis)
}
