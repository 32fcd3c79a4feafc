// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

var (
	sgr   = regexp.MustCompile("\x1b\\[([0-9;:]*)m")
	codes = regexp.MustCompile("[0-9]+")
)

var hostile = []string{
	"\x1b[2J\x1b[H\x1b]0;owned\x07boo",
	"\x1b]52;c;ZXZpbA==\x1b\\paste",
	"\u009b31mC1\u0085next\r\nline\ttab\x00nul\x7f",
	"\u202eevil\u202c\u2066x\u2069\u200f\u200b\ufeff",
	"👨‍👩‍👧‍👦👩🏽‍🚀🇨🇭 e\u0301\u0301\u0301 한글 漢字漢字漢字",
	"\xff\xfe\xc3(",
	"a\u0300\u0301\u0302\u0303\u0304\u0305\u0306 ❤️ ☎️ ⚠️",
}

// TestEverySizeFits walks through the pages at every size from 1x1 to 400x120,
// with the shop and with texts that try to break out.
func TestEverySizeFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := fake.New()
		if i := rapid.IntRange(-1, len(hostile)-1).Draw(rt, "hostile"); i >= 0 {
			w = w.Hostile(hostile[i])
		}
		width := rapid.OneOf(rapid.IntRange(1, 60), rapid.IntRange(61, 400)).Draw(rt, "width")
		height := rapid.OneOf(rapid.IntRange(1, 30), rapid.IntRange(31, 120)).Draw(rt, "height")
		ascii, noColor := rapid.Bool().Draw(rt, "ascii"), rapid.Bool().Draw(rt, "no colour")
		v := rapid.SampledFrom(views).Draw(rt, "view")
		d := drive(t, w, width, height, func(o *Options) {
			o.StartPage, o.ASCII, o.NoColor = v.page, ascii, noColor
		})
		if rapid.Bool().Draw(rt, "wide") {
			d.keys("w")
		}
		if rapid.Bool().Draw(rt, "enforcing") {
			_ = w.Enforce(t.Context(), 1e11)
			d.tick()
		}
		d.fits(width, height)
		d.keys(v.keys...)
		d.fits(width, height)
		width2, height2 := rapid.IntRange(1, 400).Draw(rt, "width after"), rapid.IntRange(1, 120).Draw(rt, "height after")
		d.size(width2, height2)
		d.fits(width2, height2)
		if ascii {
			for i, r := range d.screen() {
				if r > 0x7e {
					rt.Fatalf("page %s isn't ASCII at byte %d: %q", v.name, i, r)
				}
			}
		}
	})
}

// TestNoColourAtAll proves that NO_COLOR leaves attributes only.
func TestNoColourAtAll(t *testing.T) {
	for _, v := range views {
		d := drive(t, fake.New(), 120, 40, func(o *Options) { o.StartPage, o.NoColor = v.page, true })
		d.keys(v.keys...)
		for _, n := range sgr.FindAllStringSubmatch(d.screen(), -1) {
			for _, p := range codes.FindAllString(n[1], -1) {
				switch p {
				case "0", "1", "2", "4", "7", "22", "24", "27":
				default:
					t.Fatalf("page %s: style %q has a colour", v.name, n[0])
				}
			}
		}
	}
}
