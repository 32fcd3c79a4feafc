// SPDX-License-Identifier: Apache-2.0

package style

// Glyphs are the symbols, in Unicode or in ASCII. Each is one cell wide,
// except those in Spark, which are a list.
type Glyphs struct {
	Yes, Would, No, Unsure, None string // the verdicts' symbols
	Cursor                       string // before the row under the cursor
	Right                        string // from source to destination
	Crumb                        string
	Dot                          string // between facts
	Line, Bar                    string // horizontal, vertical
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
			Cursor: ">", Right: ">", Crumb: ">", Dot: "-", Line: "-", Bar: "|",
			Up: "^", Down: "v", Ellipsis: "~", Bullet: "*", On: "*", Off: "o", Gap: "/",
			Spark: []string{" ", ".", ":", "-", "=", "+", "*", "#"},
		}
	}
	return Glyphs{
		Yes: "✓", Would: "~", No: "✗", Unsure: "?", None: "·",
		Cursor: "▸", Right: "→", Crumb: "›", Dot: "·", Line: "─", Bar: "│",
		Up: "↑", Down: "↓", Ellipsis: "…", Bullet: "•", On: "●", Off: "○", Gap: "╱",
		Spark: []string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	}
}
