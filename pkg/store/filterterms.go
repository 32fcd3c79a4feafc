// SPDX-License-Identifier: Apache-2.0

package store

import "strings"

// Term is a part of a filter that names a field. All terms of a filter must
// hold.
type Term struct {
	Field   string   // as in [ParseFilter], "src" and the like as the field they stand for
	Values  []string // one of them
	Negated bool
}

func (t Term) String() string { return t.Field + "=" + strings.Join(t.Values, ",") }

// FilterTerms lists a filter's terms, for whoever can judge some of them at a
// place where events aren't named yet. The error is that of [ParseFilter].
func FilterTerms(text string) ([]Term, error) {
	text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "/"))
	if text == "" || strings.HasPrefix(text, "-l") {
		return nil, nil
	}
	if _, err := ParseFilter(text, nil); err != nil {
		return nil, err
	}
	var out []Term
	for _, word := range strings.Fields(text) {
		field, value, negate, ok := cutTerm(word)
		if !ok {
			continue
		}
		if f, is := aliases[field]; is {
			field = f
		}
		out = append(out, Term{field, strings.Split(value, ","), negate})
	}
	return out, nil
}
