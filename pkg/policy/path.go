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
