// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import "testing"

func TestReadQueues(t *testing.T) {
	for _, c := range []struct {
		text    string
		taken   bool
		waiting int
	}{
		{"", false, 0},
		{"   98   3250     0 2 65531     0     0     1534  1\n", true, 0},
		{"   98   3250     3 2 65531     0     0     1534  1\n  100  -4193     4 2 65531     0     0        7  1\n", true, 7},
	} {
		if taken, waiting := readQueues([]byte(c.text)); taken != c.taken || waiting != c.waiting {
			t.Errorf("%q: %t, %d waiting", c.text, taken, waiting)
		}
	}
	if taken, waiting := queues("/proc/self/ns/net"); waiting != 0 {
		t.Errorf("here: %t, %d waiting", taken, waiting)
	}
}
