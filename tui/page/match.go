// SPDX-License-Identifier: Apache-2.0

package page

import (
	"regexp"
	"strings"
)

// words compiles a filter for rows that have only names: a regular expression
// without regard to case, "!" before it for the opposite. What is no regular
// expression is looked for as it stands. The store's language (fields,
// labels) is for events; here only its first form makes sense.
func words(filter string) func(text string) bool {
	filter = strings.TrimSpace(filter)
	if filter == "" {
		return func(string) bool { return true }
	}
	not := strings.HasPrefix(filter, "!")
	filter = strings.TrimPrefix(filter, "!")
	re, err := regexp.Compile("(?i)" + filter)
	if err != nil {
		re = regexp.MustCompile("(?i)" + regexp.QuoteMeta(filter))
	}
	return func(text string) bool { return re.MatchString(text) != not }
}

// fields reports whether a filter asks for more than words.
func fields(filter string) bool {
	return strings.Contains(filter, "=") || strings.HasPrefix(strings.TrimSpace(filter), "-l")
}
