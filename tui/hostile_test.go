// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// breaking are texts that would break a table or a file, besides those that
// would break the screen.
var breaking = append([]string{
	"tab\tin it", "new\nline", "car\rriage", `quote " and ' and , and ; and \`, "=HYPERLINK(\"x\")", "שלום \u202e\u200fmix", "ゼンカク全角", "e\u0301e\u0301e\u0301",
}, hostile...)

// quiet fails on whatever could move a cursor, or turn text round, when a file
// is shown on a terminal.
func quiet(t *testing.T, what, text string) {
	t.Helper()
	for i, r := range text {
		if r == '\n' || r == '\t' {
			continue
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			t.Errorf("%s: %U at byte %d: %q", what, r, i, text[max(0, i-30):min(len(text), i+10)])
			return
		}
	}
}

// TestFilesStayParseable whatever things are called: each line of a table has
// the columns of its title, each line of JSON is an object, and neither those
// nor what is copied moves a cursor.
func TestFilesStayParseable(t *testing.T) {
	for _, text := range breaking {
		for _, v := range views {
			if v.world != nil || v.name == "enforce" || v.name == "help" {
				continue
			}
			dir := t.TempDir()
			d := drive(t, fake.New().Hostile(text), 120, 40, func(o *Options) { o.StartPage, o.ExportDir = v.page, dir })
			d.keys(v.keys...).keys("x", "y")
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%s: files %q, %v:\n%s", v.name, files, err, d.text())
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			quiet(t, v.name+" exported", string(b))
			columns := strings.Count(lines[0], "\t")
			for _, l := range lines {
				switch filepath.Ext(files[0]) {
				case ".tsv":
					if got := strings.Count(l, "\t"); got != columns {
						t.Errorf("%s: %d tabs, the title has %d: %q", v.name, got, columns, l)
					}
				case ".jsonl":
					if !json.Valid([]byte(l)) {
						t.Errorf("%s: no JSON: %q", v.name, l)
					}
				}
			}
			for _, c := range d.clip {
				if plain, err := base64.StdEncoding.DecodeString(c); err == nil {
					c = string(plain)
				}
				quiet(t, v.name+" copied", c)
			}
		}
	}
}

// TestColumnsStayAligned: what stands behind a hostile name stands where its
// title does.
func TestColumnsStayAligned(t *testing.T) {
	for _, text := range breaking {
		d := drive(t, fake.New().Hostile(text), 200, 60, on("connections"))
		lines := strings.Split(d.text(), "\n")
		title := lines[3]
		at := ansi.StringWidth(title[:strings.Index(title, "PORT")])
		rows := 0
		for _, l := range lines[4:] {
			if strings.HasPrefix(l, "─") {
				break
			}
			if strings.TrimSpace(l) == "" {
				continue
			}
			rows++
			cell := ansi.Cut(l, at, at+4)
			if !strings.HasPrefix(cell, "tcp/") && !strings.HasPrefix(cell, "udp/") && !strings.HasPrefix(cell, "icmp") {
				t.Errorf("%q: below PORT stands %q:\n%s\n%s", text, cell, title, l)
			}
		}
		if rows < 5 {
			t.Errorf("%q: %d rows", text, rows)
		}
	}
}
