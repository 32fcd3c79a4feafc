// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// blame compares a probe that can name netfilter's rules with one that was
// asked not to: what tracing costs those whom nothing is dropped of.
func (b *bed) blame() error {
	stop, err := echoes(b.server, b.addr)
	if err != nil {
		return err
	}
	defer stop()
	networks := []string{"tcp", "udp"}
	with, without := make([][]float64, len(networks)), make([][]float64, len(networks))
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "blame, round %d of %d\n", round+1, b.rounds)
		for _, blaming := range []bool{round%2 == 0, round%2 != 0} {
			into := without
			if blaming {
				into = with
			}
			if err := b.probe.watch([]*netbed.Pod{b.client, b.server}, blaming); err != nil {
				return err
			}
			for i, network := range networks {
				v, err := latency(b.client, network, b.addr, b.slot)
				if err != nil {
					return fmt.Errorf("latency over %s: %w", network, err)
				}
				into[i] = append(into[i], v)
			}
		}
	}
	fmt.Println("\n| request to answer, median, while both pods are watched | without blame | with blame | ratio | 95 % of it | target |")
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: |")
	for i, network := range networks {
		mid, low, high := ratio(with[i], without[i])
		fmt.Printf("| %s, µs | %.4g | %.4g | %.3f | %.3f to %.3f | ≤ 1.03 |\n", network, median(without[i]), median(with[i]), mid, low, high)
	}
	return nil
}
