// SPDX-License-Identifier: Apache-2.0

package count

import "testing"

func TestOf(t *testing.T) {
	for _, c := range []struct {
		n         int
		one, want string
	}{
		{0, "error", "0 errors"},
		{1, "error", "1 error"},
		{2, "error", "2 errors"},
		{1, "policy", "1 policy"},
		{0, "policy", "0 policies"},
		{3, "port entry", "3 port entries"},
		{2, "day", "2 days"},
		{2, "match", "2 matches"},
		{2, "class", "2 classes"},
		{11, "pod", "11 pods"},
	} {
		if got := Of(c.n, c.one); got != c.want {
			t.Errorf("Of(%d, %q) is %q, want %q", c.n, c.one, got, c.want)
		}
	}
	if got := Of(uint64(1), "packet"); got != "1 packet" {
		t.Errorf("got %q", got)
	}
}
