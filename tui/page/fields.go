// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// facet is what rows that aren't flows can be filtered by: its name, and what a
// row says to it.
type facet[R any] struct {
	name string
	says func(R) []string
}

// fielded is the language of a page whose rows aren't flows.
type fielded[R any] struct {
	of     string // what the rows are, "policies"
	fields []facet[R]
	text   func(R) string // what words are looked for in
}

// fieldTerm is what a term looks like, of whatever field.
var fieldTerm = regexp.MustCompile(`^([a-z]{2,})(!?)=(.+)$`)

// compile is the filter of a text: words as everywhere, and terms with the
// page's own fields. A field that means something to flows alone is refused
// here, rather than matching nothing.
func (f *fielded[R]) compile(text string) (func(R) bool, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "-l") && (len(text) == 2 || text[2] == ' ' || text[2] == '=') {
		return nil, fmt.Errorf("filter %q: %s have no labels of pods here; the pages of flows know them (key 2)", text, f.of)
	}
	var tests []func(R) bool
	var rest []string
	for _, word := range strings.Fields(text) {
		m := fieldTerm.FindStringSubmatch(word)
		if m == nil {
			rest = append(rest, word)
			continue
		}
		i := slices.IndexFunc(f.fields, func(x facet[R]) bool { return x.name == m[1] })
		if i < 0 {
			if slices.Contains(store.FilterFields(), m[1]) {
				return nil, fmt.Errorf("filter %q: %s have no %s; their fields are %s. The pages of flows know it (key 2)", word, f.of, m[1], strings.Join(f.names(), ", "))
			}
			return nil, fmt.Errorf("filter %q: %s have no field %q; their fields are %s. To search for the text write %s[=]%s", word, f.of, m[1], strings.Join(f.names(), ", "), m[1], m[3])
		}
		is, says, not := alternatives(m[3]), f.fields[i].says, m[2] != ""
		tests = append(tests, func(r R) bool { return slices.ContainsFunc(says(r), is) != not })
	}
	if len(rest) > 0 {
		keep := words(strings.Join(rest, " "))
		tests = append(tests, func(r R) bool { return keep(f.text(r)) })
	}
	return func(r R) bool {
		for _, t := range tests {
			if !t(r) {
				return false
			}
		}
		return true
	}, nil
}

func (f *fielded[R]) names() []string {
	out := make([]string, len(f.fields))
	for i, x := range f.fields {
		out[i] = x.name
	}
	return out
}

// values are the words that a field is in these rows.
func (f *fielded[R]) values(name string, rows []R) []string {
	var out []string
	for _, x := range f.fields {
		if x.name != name {
			continue
		}
		for _, r := range rows {
			out = append(out, x.says(r)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// alternatives says whether a word is one of a,b or fits one with stars.
func alternatives(value string) func(string) bool {
	re := regexp.MustCompile("(?i)^(?:" + strings.NewReplacer(`\*`, ".*", ",", "|").Replace(regexp.QuoteMeta(value)) + ")$")
	return re.MatchString
}
