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
		{"fro", "[front frontend]"},
		{"abc", "[]"}, // of "db" one letter of three is in it
	} {
		if got := fmt.Sprint(Of(c.name, names, 3)); got != c.want {
			t.Errorf("%q: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSlip(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"web", "wbe", true},
		{"web", "wep", true},
		{"front-end", "frontend", true},
		{"web", "web-server", true},
		{"payments", "paymnets", true},
		{"db", "dbs", true},
		{"web", "db", false},
		{"red", "dev", false},
		{"a", "b", false},
		{"ui", "bi", false},
		{"prod", "test", false},
		{"web", "web", false},
		{"", "a", false},
	} {
		if Slip(c.a, c.b) != c.want || Slip(c.b, c.a) != c.want {
			t.Errorf("%q for %q: want %v", c.a, c.b, c.want)
		}
	}
}
