// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// follow tells samples until the trace is closed. Those whose rule may still
// become known wait for it a moment, which no sample that comes later does.
func (d *drops) follow(sink serve.Sink, ring *kernel.Ring) {
	var rec ringbuf.Record
	var waiting []*wire.Drop
	var since []time.Time
	for {
		var list []*wire.Drop
		busy := false
		skew := kernel.Skew()
		for {
			ok, err := ring.Next(&rec)
			if err != nil {
				return // closed
			}
			if !ok {
				break
			}
			busy = true
			if len(rec.RawSample) < int(unsafe.Sizeof(bpf.DropDropEvent{})) {
				continue
			}
			w := d.sample((*bpf.DropDropEvent)(unsafe.Pointer(unsafe.SliceData(rec.RawSample))), skew)
			if d.path != nil {
				within, uid := d.pod(w.GetNetns())
				w.Within = within
				w.Programs, w.Evidence = d.hooks.on(w, uid, d.path), d.found.of(w, d.path)
			}
			if d.blame != nil && len(waiting) < maxWaiting && !d.blame.explain(w) {
				waiting, since = append(waiting, w), append(since, time.Now())
				continue
			}
			if d.blame != nil {
				d.blame.infer(w)
			}
			list = append(list, w)
		}
		n := 0
		for i, w := range waiting {
			if d.blame.explain(w) || time.Since(since[i]) > ruleWithin {
				d.blame.infer(w)
				list = append(list, w)
				continue
			}
			waiting[n], since[n] = w, since[i]
			n++
		}
		clear(waiting[n:])
		waiting, since = waiting[:n], since[:n]
		if len(list) > 0 {
			sink.Drops(list, nil)
		}
		if ring.Rest(busy || n > 0, 0) != nil {
			return // closed
		}
	}
}

// dropPace leaves the trace of netfilter the time to name the rule.
var dropPace = kernel.Pace{First: 10 * time.Millisecond, Next: 50 * time.Millisecond}

// followQuiet tells of suspects that were kept out, until stop is closed.
func (d *drops) followQuiet(sink serve.Sink, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case f := <-d.quiet:
			if w := d.unaccepted(f); w != nil {
				sink.Drops([]*wire.Drop{w}, nil)
			}
		}
	}
}

const (
	maxWaiting = 256
	maxQuiet   = 64
)
