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
		if d <= max(2, len(name)/3) && 2*d <= max(len(name), len(s)) {
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

// Slip says whether one was probably written for the other: a letter too many,
// too few, changed or in the other's place, some more in long names, or a part
// of the name left out. It is stricter than [Of], which only proposes: "db" is
// no slip of "web".
func Slip(a, b string) bool {
	least := min(len(a), len(b))
	if a == b || least < 2 {
		return false
	}
	if least > 2 && (strings.Contains(a, b) || strings.Contains(b, a)) {
		return true
	}
	d := distance(a, b)
	if least == 2 {
		return d == 1 && len(a) != len(b)
	}
	return d <= max(1, least/4) || d == 2 && letters(a) == letters(b)
}

// letters are those of a name in the order of the alphabet.
func letters(s string) string {
	out := []byte(s)
	slices.Sort(out)
	return string(out)
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
