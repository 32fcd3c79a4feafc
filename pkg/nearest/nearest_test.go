// SPDX-License-Identifier: Apache-2.0

package nearest

import (
	"fmt"
	"testing"
)

func TestOf(t *testing.T) {
	names := []string{"frontend", "backend", "front", "db", "db"}
	for _, c := range []struct{ name, want string }{
		{"front-end", "[frontend front]"},
		{"fronted", "[frontend front]"},
		{"bd", "[]"},
		{"database", "[]"},
		{"d", "[db]"},
		{"", "[]"},
	} {
		if got := fmt.Sprint(Of(c.name, names, 3)); got != c.want {
			t.Errorf("%q: got %s, want %s", c.name, got, c.want)
		}
	}
}
