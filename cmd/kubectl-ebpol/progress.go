// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// progress tells in single lines how it goes with the probes.
type progress struct {
	w     io.Writer
	began map[string]time.Time // by node: of its first word
	last  map[string]string    // by node: the last line
}

func newProgress(w io.Writer) *progress {
	return &progress{w, map[string]time.Time{}, map[string]string{}}
}

func (p *progress) tell(node string, st *wire.ProbeState) {
	now := time.Unix(0, st.GetSinceNs())
	if p.began[node].IsZero() {
		p.began[node] = now
	}
	what := st.GetPhase()
	switch what {
	case "creating":
		what = "creating the probe's pod"
	case "live":
		what = fmt.Sprintf("live in %.1f s", now.Sub(p.began[node]).Seconds())
		p.began[node] = now
	case "cut":
		what = "the stream was cut"
	case "gone":
		what = "the probe is gone"
	}
	why := st.GetMessage()
	if e := strings.TrimPrefix(st.GetError(), fmt.Sprintf("probe on node %q: ", node)); e != "" {
		why = strings.TrimPrefix(why+": "+e, ": ")
	}
	if why != "" {
		what += ": " + why
	}
	if why == "" && (st.GetPhase() == "starting" || st.GetPhase() == "connecting") {
		return
	}
	last := p.last[node]
	p.last[node] = what
	// What has been said is not said again in other words by the next phase.
	if what == last || why != "" && strings.Contains(last, why) || why == "" && st.GetPhase() == "gone" {
		return
	}
	fmt.Fprintf(p.w, "node %s: %s\n", node, oneLine(errors.New(what)))
}

// warn tells what is said of the whole session; what is said of a node stands
// in its row.
func (p *progress) warn(text string) {
	fmt.Fprintf(p.w, "warning: %s\n", oneLine(errors.New(text)))
}
