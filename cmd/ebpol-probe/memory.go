// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	tidyEvery = 2 * time.Second
	tidyAbove = 3 << 20 // bytes that are neither in use nor given back
)

// tidy gives back what a burst of connections left behind. The runtime alone
// collects when the heap has grown by half, which after a burst may be minutes
// later, and a pod's memory counts while it sits there. A collection of the few
// megabytes that are in use takes a few milliseconds.
func tidy(ctx context.Context) {
	debug.FreeOSMemory() // what loading the programs took
	sizes := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	t := time.NewTicker(tidyEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		metrics.Read(sizes)
		free, unused, objects, live := sizes[0].Value.Uint64(), sizes[1].Value.Uint64(), sizes[2].Value.Uint64(), sizes[3].Value.Uint64()
		if free+unused+max(objects, live)-live > tidyAbove {
			debug.FreeOSMemory()
		}
	}
}
