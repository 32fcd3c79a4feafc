// SPDX-License-Identifier: Apache-2.0

// Package style is the one place that knows colours and glyphs. A [Theme] is
// made once and handed down; pages name meanings ("denied", "dim"), never
// colours. Everything that a colour says is also said by a word or a symbol,
// so that the theme without colours loses nothing.
package style

import (
	"image/color"
	"strings"

	"charm.land/lipgloss/v2"
)

// Paint is a style boiled down to what stands before and after the text.
// Rendering a cell is then two concatenations; measured at 200x60, asking
// lipgloss for every cell of every frame costs more than all the rest.
type Paint struct{ on, off string }

// S paints s. Empty text stays empty.
func (p Paint) S(s string) string {
	if p.on == "" || s == "" {
		return s
	}
	return p.on + s + p.off
}

// Plain reports whether the paint does nothing.
func (p Paint) Plain() bool { return p.on == "" }

func compile(s lipgloss.Style) Paint {
	on, off, ok := strings.Cut(s.Inline(true).Render("x"), "x")
	if !ok {
		return Paint{}
	}
	return Paint{on, off}
}

// Options choose a theme. The zero value is for a dark terminal with colours
// and Unicode.
type Options struct {
	Light   bool // the terminal's background is light
	NoColor bool // attributes only: bold, faint, reverse, underline
	ASCII   bool // glyphs from ASCII only
}

// Theme holds every paint and glyph by meaning.
type Theme struct {
	Options
	Glyphs

	Text, Dim, Strong Paint // ordinary text, less and more of it
	Brand             Paint // the program's name
	Head, HeadSorted  Paint // column titles
	Cursor            Paint // the row under the cursor, all of it
	Tab, TabOn        Paint
	Rule              Paint // lines between things
	Key, KeyText      Paint // the footer
	Match             Paint // what the user typed
	Banner            Paint // frozen, enforcing: must be seen
	Good, Bad, Warn   Paint // messages

	Allowed, WouldDeny, Denied, Contested, NotJudged Paint
	Trend                                            Paint

	// YAML
	YKey, YString, YNumber, YComment, YPunct Paint
}

// New makes a theme. Only the terminal's own 16 colours are used, so that a
// person's chosen palette stays theirs. Yellow and cyan can't be read on many
// light backgrounds, hence the two columns. The four verdicts stay apart for
// every eye, as a test measures: neutral, magenta, bold red, underlined.
func New(o Options) *Theme {
	pick := func(dark, light color.Color) lipgloss.Style {
		st := lipgloss.NewStyle()
		switch {
		case o.NoColor:
			return st
		case o.Light:
			return st.Foreground(light)
		}
		return st.Foreground(dark)
	}
	none := lipgloss.NewStyle()
	dim := pick(lipgloss.BrightBlack, lipgloss.BrightBlack)
	if o.NoColor {
		dim = none.Faint(true)
	}
	t := &Theme{
		Options:    o,
		Glyphs:     glyphs(o.ASCII),
		Text:       Paint{},
		Dim:        compile(dim),
		Strong:     compile(none.Bold(true)),
		Brand:      compile(pick(lipgloss.Cyan, lipgloss.Blue).Bold(true)),
		Head:       compile(dim.Bold(true)),
		HeadSorted: compile(none.Bold(true).Underline(true)),
		Cursor:     compile(none.Reverse(true)),
		Tab:        compile(dim),
		TabOn:      compile(none.Bold(true).Reverse(true)),
		Rule:       compile(dim),
		Key:        compile(pick(lipgloss.Cyan, lipgloss.Blue).Bold(true)),
		KeyText:    compile(dim),
		Match:      compile(pick(lipgloss.Yellow, lipgloss.Magenta).Bold(true)),
		Banner:     compile(pick(lipgloss.Yellow, lipgloss.Magenta).Bold(true).Reverse(true)),
		Good:       compile(pick(lipgloss.Green, lipgloss.Blue)),
		Bad:        compile(pick(lipgloss.BrightRed, lipgloss.Red).Bold(true)),
		Warn:       compile(pick(lipgloss.Yellow, lipgloss.Magenta)),
		Allowed:    Paint{},
		WouldDeny:  compile(pick(lipgloss.BrightMagenta, lipgloss.BrightMagenta)),
		Denied:     compile(pick(lipgloss.BrightRed, lipgloss.Red).Bold(true)),
		Contested:  compile(none.Underline(true)),
		NotJudged:  compile(dim),
		Trend:      compile(pick(lipgloss.Cyan, lipgloss.Blue)),
		YKey:       compile(pick(lipgloss.Cyan, lipgloss.Blue)),
		YString:    compile(pick(lipgloss.Green, lipgloss.Green)),
		YNumber:    compile(pick(lipgloss.Magenta, lipgloss.Magenta)),
		YComment:   compile(dim),
		YPunct:     compile(dim),
	}
	return t
}
