// SPDX-License-Identifier: Apache-2.0

package part

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// JSON is v in one line, in which what would move a cursor or turn text round
// on a terminal is escaped: encoding/json leaves C1 controls and marks of
// direction as they are. Such characters stand in strings only, so it means the
// same. ok is false if v is no JSON.
func JSON(v any) (line string, ok bool) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", false
	}
	if plainASCII(string(b)) {
		return string(b), true
	}
	var out strings.Builder
	for _, r := range string(b) {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r <= 0xffff {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String(), true
}
