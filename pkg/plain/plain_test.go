// SPDX-License-Identifier: Apache-2.0

package plain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var hostile = []string{
	"", "web-1", "日本語 ü", "a\x1b[2Jb", "a\x9bb\xff", "\u009b31m", "\u009d0;t\u009c", "del\x7f", "new\nline\ttab\r", "\u202egnp.exe\u202c", "\u2066x\u2069",
	"zero\u200bwidth\u200d\ufeff", "\u2028\u2029\u0085", "tag\U000e0041\U000e007f", "e\u0301\u0302", "a\u00adb", `quote " \ \u202e`,
}

func FuzzPlain(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for what, got := range map[string]string{"line": Line(s), "text": strings.NewReplacer("\n", "", "\t", "").Replace(Text(s))} {
			if !utf8.ValidString(got) || strings.ContainsFunc(got, moves) {
				t.Errorf("%s of %q is %q", what, s, got)
			}
		}
		var out bytes.Buffer
		e := json.NewEncoder(ForJSON(&out))
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]string{s: s}); err != nil {
			t.Fatal(err)
		}
		if text := strings.ReplaceAll(out.String(), "\n", ""); strings.ContainsFunc(text, moves) {
			t.Errorf("JSON of %q is %q", s, text)
		}
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		want := strings.ToValidUTF8(s, "\uFFFD")
		if !utf8.ValidString(s) {
			return // encoding/json has a replacement for each byte
		}
		if got, ok := back[want]; !ok || got != want {
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}

// moves is what no output may have, said in other words than the package's.
func moves(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

func TestWhatIsHarmlessStays(t *testing.T) {
	for in, want := range map[string]string{
		"web-1": "web-1", "日本語 ü": "日本語 ü", "a\x1b[2Jb": "a[2Jb", "two\nlines\t": "twolines", "\u202egnp": "gnp", "\xff": "\uFFFD",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Text("two\nlines\tof\x1b text\r\n"); got != "two\nlines\tof text\n" {
		t.Errorf("Text: %q", got)
	}
	if got := string(JSON([]byte(`{"a":"` + "\u202e\u009b\U000e0041" + `"}`))); got != `{"a":"\u202e\u009b\udb40\udc41"}` {
		t.Errorf("JSON: %s", got)
	}
}

// TestOutputIsTheTextInWhateverPieces it was written.
func TestOutputIsTheTextInWhateverPieces(t *testing.T) {
	for _, s := range hostile {
		if !utf8.ValidString(s) {
			continue
		}
		for size := 1; size < 6; size++ {
			var out bytes.Buffer
			o := &Output{W: &out}
			for rest := []byte(s); len(rest) > 0; {
				n := min(size, len(rest))
				if wrote, err := o.Write(rest[:n]); wrote != n || err != nil {
					t.Fatal(wrote, err)
				}
				rest = rest[n:]
			}
			if out.String() != Text(s) {
				t.Errorf("%q in pieces of %d is %q", s, size, out.String())
			}
		}
	}
	var out bytes.Buffer
	_, _ = (&Output{W: &out}).Write([]byte("8 bits: \x9b2J, and on"))
	if got := out.String(); got != "8 bits: \uFFFD2J, and on" {
		t.Errorf("%q", got)
	}
}
