// SPDX-License-Identifier: Apache-2.0

// Package nearest finds the names that somebody probably meant.
package nearest

import (
	"cmp"
	"slices"
	"strings"
)

// Of are the at most n names that look most like name: those that hold it or
// begin alike, and those a few letters away. Best first, each once.
func Of(name string, names []string, n int) []string {
	type near struct {
		name     string
		distance int
	}
	var list []near
	for _, s := range names {
		d := distance(name, s)
		if len(s) > 1 && len(name) > 1 && (strings.Contains(s, name) || strings.Contains(name, s)) {
			d = min(d, 2)
		}
		if d <= max(2, len(name)/3) && d < max(len(name), len(s)) {
			list = append(list, near{s, d})
		}
	}
	slices.SortFunc(list, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, s := range slices.Compact(list) {
		if len(out) < n {
			out = append(out, s.name)
		}
	}
	return out
}

// distance is how many letters must be put in, taken out or changed to make b
// of a (Levenshtein). Long names are compared by their beginning.
func distance(a, b string) int {
	const most = 100
	a, b = a[:min(len(a), most)], b[:min(len(b), most)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
