// SPDX-License-Identifier: Apache-2.0

package style

import "strings"

// Glyphs are the symbols, in Unicode or in ASCII. Each is one cell wide,
// except those in Spark, which are a list.
type Glyphs struct {
	Yes, Would, No, Unsure, None string // the verdicts' symbols
	Cursor                       string // before the row under the cursor
	Right, Left                  string // from source to destination; a remark on what stands left
	Crumb                        string
	Dot                          string // between facts
	Line, Bar, Tee               string // horizontal, vertical, a vertical that begins
	Up, Down                     string // sorted ascending, descending
	Ellipsis                     string
	Bullet                       string
	On, Off                      string
	Gap                          string
	Spark                        []string // from nothing to full
}

func glyphs(ascii bool) Glyphs {
	if ascii {
		return Glyphs{
			Yes: "+", Would: "~", No: "x", Unsure: "?", None: "-",
			Cursor: ">", Right: ">", Left: "<", Crumb: ">", Dot: "-", Line: "-", Bar: "|", Tee: "+",
			Up: "^", Down: "v", Ellipsis: "~", Bullet: "*", On: "*", Off: "o", Gap: "/",
			Spark: []string{" ", ".", ":", "-", "=", "+", "*", "#"},
		}
	}
	return Glyphs{
		Yes: "✓", Would: "~", No: "✗", Unsure: "?", None: "·",
		Cursor: "▸", Right: "→", Left: "◂", Crumb: "›", Dot: "·", Line: "─", Bar: "│", Tee: "┬",
		Up: "↑", Down: "↓", Ellipsis: "…", Bullet: "•", On: "●", Off: "○", Gap: "╱",
		Spark: []string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇"},
	}
}

// keyNames are the keys whose usual sign isn't ASCII.
var keyNames = strings.NewReplacer("↑↓←→", "arrows", "↑↓", "up/down", "↑", "up", "↓", "down", "←", "left", "→", "right")

// KeyName is a key's name as it can be drawn.
func (t *Theme) KeyName(name string) string {
	if t.ASCII {
		return keyNames.Replace(name)
	}
	return name
}
