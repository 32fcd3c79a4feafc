// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"
	"strings"
)

// parentPath drops the last step of a field path: "a.b[0]" gives "a.b", "a.b"
// gives "a", "a" gives "".
func parentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return ""
}

func at(path string, index int) string { return path + "[" + strconv.Itoa(index) + "]" }

// unquoted says what to do about a text that YAML took for something else:
// "y" is a popular name for a namespace.
func unquoted(text string) string {
	switch {
	case strings.Contains(text, "unmarshal bool into") && strings.HasSuffix(text, " of type string"):
		return text + " (YAML takes y, n, yes, no, on and off for true and false: put it in quotes)"
	case strings.Contains(text, "unmarshal number into") && strings.HasSuffix(text, " of type string"):
		return text + " (YAML takes it for a number: put it in quotes)"
	}
	return text
}
