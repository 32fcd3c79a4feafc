// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// tellQuiet prints what the probe itself takes while it watches both pods and
// nothing new happens: one connection asks and is answered as fast as it can.
// Ten seconds are enough for a tenth of a percent: a process's time is told in
// hundredths of a second.
func (b *bed) tellQuiet() error {
	pods := []*netbed.Pod{b.client, b.server}
	if err := b.probe.watch(pods, true); err != nil {
		return err
	}
	if err := b.probe.nextStats(2); err != nil { // what was asked for is done
		return err
	}
	before, err := b.probe.cpu()
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := latency(b.client, "tcp", b.addr, b.quiet); err != nil {
		return fmt.Errorf("request/response: %w", err)
	}
	after, err := b.probe.cpu()
	if err != nil {
		return err
	}
	fmt.Println("\n| time of the probe's own | % of one core | target |\n| --- | ---: | ---: |")
	fmt.Printf("| one connection that is busy, nothing new | %.1f | ≤ 0.5 |\n", 100*(after-before).Seconds()/time.Since(start).Seconds())
	return nil
}
