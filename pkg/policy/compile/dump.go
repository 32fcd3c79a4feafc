// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"strings"
)

// Dump is a node's ruleset as text, one line an entry, with the names of its
// sets' bits. Two dumps can be compared by diff.
func (o *Output) Dump(node string) string {
	var b strings.Builder
	r := o.Node(node)
	for _, s := range r.Sets {
		names := o.Names(s.ID)
		for i, n := range names.Bits {
			what := ""
			if i >= names.IsolateStart && i < names.BaselineStart {
				what = " isolates"
			}
			if n.Policies > 1 {
				what += fmt.Sprintf(" and %d more policies", n.Policies-1)
			}
			if n.CandidateOnly {
				what += " (candidate)"
			}
			fmt.Fprintf(&b, "name set=%d %s bit=%d %s %s%s\n", s.ID, names.Direction, i, n.Rule.Kind, n.Rule, what)
		}
	}
	_, _ = r.WriteTo(&b) // to memory
	return b.String()
}
