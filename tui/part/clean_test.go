// SPDX-License-Identifier: Apache-2.0

package part

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/ebpol/kubectl-ebpol/tui/style"
)

func TestCleanKeepsWhatIsHarmless(t *testing.T) {
	for _, s := range []string{"", "shop/web-0", "déjà vu", "漢字", "日本語テキスト", "✓ allowed"} {
		if got := Clean(s); got != s {
			t.Errorf("Clean(%q) = %q", s, got)
		}
	}
}

func TestCleanTakesAwayWhatIsNot(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[2Jx":              "x",
		"\x1b]0;title\x07x":     "x",
		"a\nb\tc\rd":            "a b c d",
		"\u202eabc\u202c":       "abc",
		"a\u200bb\ufeffc\u00ad": "abc",
		"bell\x07 del\x7f":      "bell del",
		"\u009b31mred":          "31mred", // without its lead it is only text
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if n := len(Clean(strings.Repeat("x", 1<<20))); n > MaxText {
		t.Errorf("%d bytes came through", n)
	}
}

// FuzzClean proves that no text can do anything but stand in its line.
func FuzzClean(f *testing.F) {
	for _, s := range []string{
		"shop/web-0", "\x1b[31mred\x1b[0m", "\x1b]8;;http://x\x1b\\link", "\x9b1;1H", "\xff\xfe", "e\u0301\u0301", "👨‍👩‍👧", "🇨🇭🇨", "\u202e\u2066", "한\u1161\u11a8", "\u0600\u0601a", "☎️1️⃣",
		"\x1bP\x1b", "\x1b", "\u0e33\u0e33", "क्षि", "\U000e0041",
	} {
		f.Add(s)
	}
	th := style.New(style.Options{})
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Fatalf("Clean(%q) = %q is not UTF-8", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
				t.Fatalf("Clean(%q) = %q keeps %U", s, got, r)
			}
		}
		if len(got) > 3*MaxText {
			t.Fatalf("%d bytes came through", len(got))
		}
		if w, wc := ansi.StringWidth(got), ansi.StringWidthWc(got); w != wc {
			t.Fatalf("Clean(%q) = %q is %d or %d wide", s, got, w, wc)
		}
		if again := Clean(got); again != got {
			t.Fatalf("Clean(%q) = %q, again %q", s, got, again)
		}
		for _, width := range []int{0, 1, 2, 7, 30} {
			cell := Fit(got, width, width%2 == 0, th.Ellipsis)
			if ansi.StringWidth(cell) != width || ansi.StringWidthWc(cell) != width {
				t.Fatalf("Fit(%q, %d) = %q is %d or %d wide", got, width, cell, ansi.StringWidth(cell), ansi.StringWidthWc(cell))
			}
			for _, l := range Wrap(got, max(2, width), 5, th.Ellipsis) {
				if ansi.StringWidth(l) > max(2, width) {
					t.Fatalf("Wrap(%q, %d) has a line of %d: %q", got, width, ansi.StringWidth(l), l)
				}
			}
		}
		YAML(got, th)
	})
}

func TestNumbersStayInTheirColumn(t *testing.T) {
	for n := uint64(1); n != 0 && n < 1<<63; n *= 3 {
		for _, v := range []uint64{n - 1, n, n + 1} {
			if s := Count(v); len(s) > CountWidth {
				t.Errorf("Count(%d) = %q", v, s)
			}
			if s := Size(v); len(s) > SizeWidth {
				t.Errorf("Size(%d) = %q", v, s)
			}
			if s := Rate(float64(v)); len(s) > RateWidth {
				t.Errorf("Rate(%d) = %q", v, s)
			}
			if s := Age(time.Duration(v)); len(s) > AgeWidth {
				t.Errorf("Age(%d) = %q", v, s)
			}
		}
	}
	for in, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 99_999: "99,999", 100_000: "100.0k", 999_949: "999.9k", 999_951: "1.0M", 12_345_678: "12.3M"} {
		if got := Count(in); got != want {
			t.Errorf("Count(%d) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{-5: "0s", 9 * time.Second: "9s", 245 * time.Second: "4:05", 3723 * time.Second: "1:02:03"} {
		if got := Left(in); got != want {
			t.Errorf("Left(%v) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[float64]string{0: "0.0%", 0.004: "0.4%", 0.12: "12%", 1: "100%", -1: "0.0%"} {
		if got := Percent(in); got != want {
			t.Errorf("Percent(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestSparkShowsTheNewestOnTheRight(t *testing.T) {
	steps := []string{" ", "1", "2", "3"}
	for _, c := range []struct {
		values []uint64
		width  int
		want   string
	}{
		{nil, 4, "    "},
		{[]uint64{0, 0, 9}, 4, "   3"},
		{[]uint64{1, 9}, 2, "13"},
		{[]uint64{0, 0, 0, 0, 4, 8}, 3, "  3"},
		{[]uint64{5}, 0, ""},
	} {
		if got := Spark(c.values, c.width, steps); got != c.want {
			t.Errorf("Spark(%v, %d) = %q, want %q", c.values, c.width, got, c.want)
		}
	}
}
