// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// alphabet is what a byte of the fuzzer's input presses.
var alphabet = []string{
	"up", "down", "left", "right", "pgup", "pgdown", "home", "end", "enter", "esc", "tab", "shift+tab", "space", "backspace", "ctrl+z",
	"1", "2", "3", "4", "5", "6", "7", "8", "/", ":", "?", "w", "c", "a", "b", "t", "o", "d", "e", "r", "y", "g", "G", "I", "<", ">", "-",
	"N", "R", "D", "V", "S", "j", "k", "h", "l", "n", "f", "=", "(", "!", "*", "ü", "漢", "E", "s", "p", "ctrl+n", "ctrl+p",
}

// FuzzKeys presses anything at any time, while the world changes and the
// window is resized: the screen must hold, and nothing may be enforced unless
// the word was typed.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"", "4\x01\x1f", "\x19\x00\x01\x02", ":\x1ftop\n", "\x08\x08\x09\x09", "/\x37(\x08", "\xf0\xf1\xf2\xf3", "bbbbGGGG\x03", "\x18\x00\x08", "\x18\x46\x47\x00\x01"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		w := fake.New()
		d := drive(t, w, 100, 30, func(o *Options) { o.ExportDir = t.TempDir() })
		width, height := 100, 30
		for _, b := range in[:min(len(in), 300)] {
			switch {
			case int(b) < len(alphabet):
				d.keys(alphabet[b])
			case b < 0x80:
				w.Step(time.Second)
				d.tick()
			case b < 0xc0:
				d.send(tea.MouseClickMsg{Button: tea.MouseLeft, X: int(b & 0x3f), Y: int(b & 0x1f)})
			case b < 0xf0:
				width, height = int(b-0xc0)*5+1, int(b-0xc0)+1
				d.size(width, height)
			default:
				d.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
				d.send(tea.PasteMsg{Content: "\x1b[2Jpasted\nmore"})
			}
			d.fits(width, height)
		}
		for _, c := range w.Done() {
			if len(c) > 8 && c[:8] == "enforce " {
				t.Fatalf("enforced without the word: %q", w.Done())
			}
		}
	})
}
