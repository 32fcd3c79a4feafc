// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strconv"

	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// centred puts sentences into the middle of an empty page: the first is
// strong, the others explain.
func centred(width, height int, sentences []string, th *style.Theme) []string {
	var text []string
	for i, s := range sentences {
		for _, line := range part.Wrap(s, max(1, min(width-4, 72)), 6, th.Ellipsis) {
			line = part.Spaces((width-part.Width(line))/2) + line
			if i == 0 {
				text = append(text, th.Strong.S(line))
			} else {
				text = append(text, th.Dim.S(line))
			}
		}
	}
	if len(text) > height {
		return text[:height]
	}
	return append(make([]string, max(0, (height-len(text))/3)), text...)
}

// noChanges says why no flow is listed that the candidate changes.
func (e *Env) noChanges() []string {
	if !e.Health.HasCandidate {
		return []string{"No candidate to compare with", "Put a policy into dry-run (key 4, then d): flows whose verdict it changes appear here. c shows all flows."}
	}
	return []string{"The candidate changes nothing so far", "Flows whose verdict it would change appear here as they happen. Rare ones (batch jobs) may need hours. c shows all flows."}
}

// nothing says why a page is empty: it tries the reasons in the order in
// which a person would rule them out.
func (e *Env) nothing(filter string, quiet ...string) []string {
	h := e.Health
	switch {
	case filter != "":
		return []string{"Nothing matches /" + part.Clean(filter), "esc clears the filter; / changes it. What matches later appears by itself."}
	case e.Trouble:
		return []string{"No trouble", "Nothing is denied, would be denied, is contested or was dropped so far. ctrl+z shows everything."}
	case h.Replay:
		return quiet
	case h.NodesTotal == 0:
		return []string{"Waiting for the first probe", "Nothing has reported yet. Key 5 shows what each node waits for."}
	case h.NodesLive == 0:
		return []string{
			"No probe is live yet: 0 of " + strconv.Itoa(h.NodesTotal),
			"The first rows appear within a second after a probe connects. Key 5 shows what each node waits for.",
		}
	}
	return quiet
}
