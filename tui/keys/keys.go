// SPDX-License-Identifier: Apache-2.0

// Package keys is every key that the screen knows, once, with the words that
// help and footer show. Help is generated from it; nobody writes it by hand.
package keys

import "charm.land/bubbles/v2/key"

// Map holds the bindings by meaning.
type Map struct {
	// moving
	Up, Down, PageUp, PageDown, Home, End, Left, Right key.Binding
	// several of them in one entry of the footer
	Move, Around, Pages, Sort key.Binding
	// going
	Enter, Back, Next, Previous, Command, Help, Quit key.Binding
	// narrowing
	Filter, Trouble, Changed, Benign, Group, Each key.Binding
	// looking
	Freeze, Wide, SortNext, SortPrevious, SortReverse key.Binding
	// taking away
	Copy, Export, Record key.Binding
	// policies
	Toggle, Off, DryRun, Enforce, Release, Edit key.Binding
	// the past
	Earlier, Later, Moment, Present key.Binding
	// in a prompt or dialog
	Accept, Cancel, Complete key.Binding
}

func bind(help, desc string, keys ...string) key.Binding {
	return key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, desc))
}

// Default is the map: the habits of k9s, less and vim.
func Default() *Map {
	return &Map{
		Up:       bind("↑/k", "up", "up", "k"),
		Down:     bind("↓/j", "down", "down", "j"),
		PageUp:   bind("pgup", "page up", "pgup", "ctrl+b", "ctrl+u"),
		PageDown: bind("pgdn", "page down", "pgdown", "ctrl+f", "ctrl+d"),
		Home:     bind("g", "first row, and stay there", "home", "g"),
		End:      bind("G", "last row", "end", "G"),
		Left:     bind("←/h", "left", "left", "h"),
		Right:    bind("→/l", "right", "right", "l"),

		Move:   bind("↑↓", "move", "up", "down"),
		Around: bind("↑↓←→", "move", "up", "down", "left", "right"),
		Pages:  bind("1-7", "pages", "tab"),
		Sort:   bind("<>", "sort", "<", ">"),

		Enter:    bind("enter", "open", "enter"),
		Back:     bind("esc", "back", "esc", "-", "backspace"),
		Next:     bind("tab", "next page", "tab"),
		Previous: bind("shift+tab", "previous page", "shift+tab"),
		Command:  bind(":", "command", ":"),
		Help:     bind("?", "help", "?", "f1"),
		Quit:     bind("q", "quit", "q", "ctrl+c"),

		Filter:  bind("/", "filter", "/"),
		Trouble: bind("ctrl+z", "trouble only", "ctrl+z"),
		Changed: bind("c", "changes only", "c"),
		Benign:  bind("a", "all, also harmless", "a"),
		Group:   bind("b", "group by", "b"),
		Each:    bind("b", "each connection", "b"),

		Freeze:       bind("space", "freeze", "space"),
		Wide:         bind("w", "wide", "w"),
		SortNext:     bind(">", "sort by the next column", ">"),
		SortPrevious: bind("<", "sort by the column before", "<"),
		SortReverse:  bind("I", "invert the sort", "I"),

		Copy:   bind("y", "copy row", "y"),
		Export: bind("x", "export to a file", "x"),
		Record: bind("s", "save recording", "s"),

		Toggle:  bind("t", "next mode", "t"),
		Off:     bind("o", "off", "o"),
		DryRun:  bind("d", "dry-run", "d"),
		Enforce: bind("e", "enforce", "e"),
		Release: bind("r", "release the lease", "r"),
		Edit:    bind("E", "edit and dry-run", "E"),

		Earlier: bind("←/h", "10s earlier", "left", "h"),
		Later:   bind("→/l", "10s later", "right", "l"),
		Moment:  bind("p", "all pages as of then", "p"),
		Present: bind("n", "back to now", "n"),

		Accept:   bind("enter", "accept", "enter"),
		Cancel:   bind("esc", "cancel", "esc", "ctrl+c"),
		Complete: bind("tab", "complete", "tab"),
	}
}

// Section is a titled group of bindings in the help.
type Section struct {
	Title    string
	Bindings []key.Binding
}

// Everywhere lists what works on every page that can do it at all.
func (m *Map) Everywhere() []Section {
	pages := m.Pages
	pages.SetHelp(pages.Help().Key, "the page of that number")
	return []Section{
		{"Move", []key.Binding{m.Up, m.Down, m.PageUp, m.PageDown, m.Home, m.End}},
		{"Go", []key.Binding{m.Enter, m.Back, pages, m.Next, m.Previous, m.Command, m.Help, m.Quit}},
		{"Narrow", []key.Binding{m.Filter, m.Trouble}},
		{"Look", []key.Binding{m.Freeze, m.Wide, m.SortNext, m.SortPrevious, m.SortReverse}},
		{"Take away", []key.Binding{m.Copy, m.Export, m.Record}},
		{"Lease", []key.Binding{m.Release}},
		{"Past", []key.Binding{m.Present}},
	}
}

// Sort is the binding of a column's sort letter.
func Sort(letter, title string) key.Binding {
	return bind("shift+"+lower(letter), "sort by "+title, letter)
}

// Brief is a shorter word for what a key does, where there is no room for it.
func Brief(desc string) string {
	if s, ok := brief[desc]; ok {
		return s
	}
	return desc
}

var brief = map[string]string{
	"connections": "open", "its connections": "open", "their flows": "open", "its flows": "flows",
	"what would change": "changes", "changes only": "changes", "all flows": "all", "all connections": "all",
	"policies, to enforce": "policies", "flows, to watch": "watch", "each connection": "each",
	"release the lease": "release", "stop enforcing": "stop", "dry-run only": "dry-run",
	"edit and dry-run": "edit", "all, also harmless": "all", "what matters only": "less", "faults only": "faults",
	"record, to go back later": "record", "all pages as of then": "as of then", "back to now": "now",
	"enforce, once the word is typed": "enforce", "trouble only": "trouble", "scroll": "more", "copy row": "copy",
	"save recording": "record", "export to a file": "export", "what was typed before": "before",
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return string(s[0] | 0x20)
}
