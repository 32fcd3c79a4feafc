// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// onlyASCII is the last fence of --ascii: what a cluster's own texts bring
// along becomes question marks of the same width.
func onlyASCII(s string) string {
	clean := true
	for i := range len(s) {
		if s[i] > 0x7e {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		cluster, w := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		s = s[len(cluster):]
		switch {
		case len(cluster) == 1:
			b.WriteString(cluster)
		case cluster == "µ":
			b.WriteByte('u') // of microseconds
		default:
			b.WriteString(strings.Repeat("?", w))
		}
	}
	return b.String()
}
