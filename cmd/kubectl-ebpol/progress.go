// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// progress tells in single lines how it goes with the probes.
type progress struct {
	w     io.Writer
	began map[string]time.Time // by node: of its first word
	last  map[string]string
}

func (p *progress) tell(node string, st *wire.ProbeState) {
	now := time.Unix(0, st.GetSinceNs())
	if p.began[node].IsZero() {
		p.began[node] = now
	}
	var what string
	switch st.GetPhase() {
	case "creating":
		what = "creating the probe's pod"
	case "starting":
		what = "starting"
	case "connecting":
		what = "connecting"
	case "live":
		what = fmt.Sprintf("live in %.1f s", now.Sub(p.began[node]).Seconds())
		p.began[node] = now
	case "cut":
		what = "stream cut"
	case "gone":
		what = "the probe is gone"
	case "failed":
		what = "failed"
	default:
		what = st.GetPhase()
	}
	if st.GetMessage() != "" {
		what += ": " + st.GetMessage()
	}
	if st.GetError() != "" {
		what += ": " + st.GetError()
	}
	if p.last == nil {
		p.last = map[string]string{}
	}
	if p.last[node] == what {
		return
	}
	p.last[node] = what
	fmt.Fprintf(p.w, "node %s: %s\n", node, oneLine(errors.New(what)))
}
