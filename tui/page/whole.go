// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// maxWhole is how many rows are exported: more than anybody reads, and made in
// less time than a key may take.
const maxWhole = 10_000

// Whole implements [Wholer].
func (l *list[R, K]) Whole(ask func() (store.Query, func(*store.Snapshot) any)) (store.Query, func(*store.Snapshot) any) {
	l.whole = true
	defer func() { l.whole = false }()
	return ask()
}

// Lend implements [Wholer].
func (l *list[R, K]) Lend(digest any, do func()) (rows, total int) {
	b, ok := digest.(interface {
		lent() batch[R, K]
	})
	if !ok {
		return 0, 0
	}
	before := l.rows
	defer func() { l.rows = before }()
	l.rows = b.lent().rows
	do()
	return len(l.rows), max(b.lent().total, len(l.rows))
}

// Copy gives the row under the cursor, its cells between tabs.
func (l *list[R, K]) Copy() string {
	if row, ok := l.Row(); ok {
		return l.plain(row)
	}
	return ""
}

// Export gives the loaded rows as tab-separated text under a title line.
func (l *list[R, K]) Export() (lines []string, ext string) {
	if len(l.rows) == 0 {
		return nil, ""
	}
	titles := make([]string, 0, len(l.table.Columns))
	for _, c := range l.table.Columns {
		titles = append(titles, c.Title)
	}
	lines = append(lines, strings.Join(titles, "\t"))
	for _, r := range l.rows {
		lines = append(lines, l.plain(r))
	}
	return lines, "tsv"
}

func (l *list[R, K]) plain(row R) string {
	cells := make([]string, 0, len(l.table.Columns))
	for _, c := range l.table.Columns {
		cells = append(cells, strings.TrimSpace(l.draw(row, c.Key).Text))
	}
	return strings.Join(cells, "\t")
}
