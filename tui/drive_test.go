// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// driver runs a model without a terminal and without a clock: commands run at
// once, and time passes when the test says so.
type driver struct {
	tb    testing.TB
	m     *Model
	world *fake.World
	quit  bool
	clip  []string
	later []tea.Msg // what was to be sent later, but for ticks
}

func drive(tb testing.TB, w *fake.World, width, height int, change func(*Options)) *driver {
	tb.Helper()
	tb.Setenv("NO_COLOR", "")
	dark := false
	o := Options{Snapshots: w, Actions: w, Light: &dark}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	d := &driver{tb: tb, m: m, world: w}
	m.after = func(_ time.Duration, msg tea.Msg) tea.Cmd {
		if _, tick := msg.(tickMsg); !tick {
			d.later = append(d.later, msg)
		}
		return nil
	}
	d.run(m.Init())
	d.size(width, height)
	return d
}

// run executes a command and all that follows from it.
func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	case tea.QuitMsg:
		d.quit = true
	default:
		if s := fmt.Sprintf("%T", msg); strings.HasSuffix(s, "setClipboardMsg") {
			d.clip = append(d.clip, fmt.Sprint(msg))
			return
		}
		d.send(msg)
	}
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.m.Update(msg)
	_ = d.m.View()
	d.run(cmd)
	_ = d.m.View()
}

// size resizes and lets the window come to rest.
func (d *driver) size(width, height int) {
	d.send(tea.WindowSizeMsg{Width: width, Height: height})
	d.rest()
}

// rest delivers what was to be sent later.
func (d *driver) rest() {
	later := d.later
	d.later = nil
	for _, msg := range later {
		d.send(msg)
	}
}

func (d *driver) tick() { d.send(tickMsg{}) }

// keys presses keys by their names; a name of several letters in quotes is typed.
func (d *driver) keys(names ...string) *driver {
	for _, n := range names {
		d.send(press(n))
	}
	return d
}

func (d *driver) typed(text string) *driver {
	for _, r := range text {
		d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
	return d
}

var special = map[string]tea.KeyPressMsg{
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "tab": {Code: tea.KeyTab},
	"shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift}, "space": {Code: tea.KeySpace, Text: " "},
	"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight},
	"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
	"backspace": {Code: tea.KeyBackspace}, "ctrl+z": {Code: 'z', Mod: tea.ModCtrl}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
}

func press(name string) tea.KeyPressMsg {
	if k, ok := special[name]; ok {
		return k
	}
	r := []rune(name)
	return tea.KeyPressMsg{Code: r[0], Text: name}
}

// screen is what is drawn, with its styles.
func (d *driver) screen() string { return d.m.View().Content }

// text is what is drawn, without styles.
func (d *driver) text() string { return ansi.Strip(d.screen()) }

func (d *driver) shows(want ...string) {
	d.tb.Helper()
	got := d.text()
	for _, w := range want {
		if !strings.Contains(got, w) {
			d.tb.Fatalf("the screen doesn't show %q:\n%s", w, got)
		}
	}
}

func (d *driver) hides(unwanted ...string) {
	d.tb.Helper()
	got := d.text()
	for _, w := range unwanted {
		if strings.Contains(got, w) {
			d.tb.Fatalf("the screen shows %q:\n%s", w, got)
		}
	}
}

// fits checks that the content is no larger than the window, however a
// terminal measures characters, and holds nothing but text and styles.
func (d *driver) fits(width, height int) {
	d.tb.Helper()
	s := d.screen()
	lines := strings.Split(s, "\n")
	if len(lines) > height {
		d.tb.Fatalf("%dx%d, page %s: %d lines", width, height, d.m.page().Name(), len(lines))
	}
	for i, l := range lines {
		if w, wc := ansi.StringWidth(l), ansi.StringWidthWc(l); w > width || wc > width {
			d.tb.Fatalf("%dx%d, page %s: line %d is %d (%d) cells wide: %q", width, height, d.m.page().Name(), i, w, wc, l)
		}
	}
	onlyStyles(d.tb, s)
}

// onlyStyles fails on any control character or sequence but SGR and line ends.
func onlyStyles(tb testing.TB, s string) {
	tb.Helper()
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\n':
		case c == 0x1b:
			j := i + 1
			if j >= len(s) || s[j] != '[' {
				tb.Fatalf("an escape sequence that isn't a style: %q", s[i:min(len(s), i+20)])
			}
			for j++; j < len(s) && (s[j] >= '0' && s[j] <= '9' || s[j] == ';' || s[j] == ':'); j++ {
			}
			if j >= len(s) || s[j] != 'm' {
				tb.Fatalf("an escape sequence that isn't a style: %q", s[i:min(len(s), i+20)])
			}
			i = j
		case c < 0x20 || c == 0x7f:
			tb.Fatalf("control character %#x in %q", c, s[max(0, i-20):min(len(s), i+20)])
		}
	}
	for _, r := range s {
		if r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f {
			tb.Fatalf("control character %U in the screen", r)
		}
	}
}
