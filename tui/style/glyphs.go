// SPDX-License-Identifier: Apache-2.0

package style

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
