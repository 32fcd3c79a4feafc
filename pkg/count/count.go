// SPDX-License-Identifier: Apache-2.0

// Package count puts numbers before nouns: 1 policy, 2 policies.
package count

import (
	"fmt"
	"strings"
)

// Of is a number and its noun, of which the singular is given: "0 errors",
// "1 policy", "2 matches".
func Of[N ~int | ~int64 | ~uint32 | ~uint64](n N, one string) string {
	return fmt.Sprintf("%d %s", n, Noun(n, one))
}

// Noun is the noun as it stands behind the number. It knows the regular
// plurals; of several words the last one changes.
func Noun[N ~int | ~int64 | ~uint32 | ~uint64](n N, one string) string {
	if n == 1 || one == "" {
		return one
	}
	stem, y := strings.CutSuffix(one, "y")
	switch {
	case y && stem != "" && !strings.ContainsAny(stem[len(stem)-1:], "aeiou"):
		return stem + "ies"
	case strings.HasSuffix(one, "s"), strings.HasSuffix(one, "x"), strings.HasSuffix(one, "ch"), strings.HasSuffix(one, "sh"):
		return one + "es"
	}
	return one + "s"
}
