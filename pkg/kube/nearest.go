// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// missing is the error for a name that doesn't exist, with the nearest that do.
func missing(what, name, in string, names []string) error {
	near := Nearest(name, names, 3)
	switch {
	case len(near) == 1:
		return fmt.Errorf("%s %q not found%s; did you mean %q?", what, name, in, near[0])
	case len(near) > 1:
		return fmt.Errorf("%s %q not found%s; did you mean one of %q?", what, name, in, near)
	case len(names) == 0:
		return fmt.Errorf("%s %q not found%s; there is none", what, name, in)
	}
	return fmt.Errorf("%s %q not found%s", what, name, in)
}

// Nearest are the at most n names that look most like name: those that hold it
// or begin alike, and those a few letters away.
func Nearest(name string, names []string, n int) []string {
	type near struct {
		name     string
		distance int
	}
	var list []near
	for _, s := range names {
		d := distance(name, s)
		if strings.Contains(s, name) || strings.Contains(name, s) {
			d = min(d, 2)
		}
		if d <= max(2, len(name)/3) {
			list = append(list, near{s, d})
		}
	}
	slices.SortFunc(list, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, s := range list[:min(n, len(list))] {
		out = append(out, s.name)
	}
	return out
}

// distance is how many letters must be put in, taken out or changed to make b
// of a (Levenshtein).
func distance(a, b string) int {
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
