// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// pair is two pods of the node that speak to each other, and a server in one.
type pair struct {
	client, server *netbed.Pod
	addr           netip.AddrPort
}

func addPair(node *netbed.Node, i int) (p pair, stop func(), err error) {
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 89, 0, byte(2 + 2*i + n)}) }
	if p.client, err = node.AddPod(fmt.Sprintf("client%d", i), at(0)); err != nil {
		return p, nil, err
	}
	if p.server, err = node.AddPod(fmt.Sprintf("server%d", i), at(1)); err != nil {
		return p, nil, err
	}
	p.addr = netip.AddrPortFrom(at(1), 5001)
	stop, err = serve(p.server, p.addr)
	return p, stop, err
}

func (p *pair) pods() []*netbed.Pod { return []*netbed.Pod{p.client, p.server} }

// load is one kind of traffic, in turns of some 20 ms.
type load struct {
	name, unit string
	target     float64 // what the ratio should be at least; 0: none was set
	what       exchange
	n          int     // exchanges in a turn; of new connections, if what is nothing
	each       float64 // how much of the unit one is
}

const large = 16 << 20 // bytes of a request that is to fill the link

var loads = []load{
	{"TCP throughput, one processor", "Gbit/s", 0.99, exchange{1, 1, large}, 3, 8 * large / 1e9},
	{"TCP throughput, two processors", "Gbit/s", 0.99, exchange{0, 1, large}, 3, 8 * large / 1e9},
	{"TCP request/response, one processor", "1/s", 0.97, exchange{1, 1, message}, 1000, 1},
	{"TCP request/response, two processors", "1/s", 0.97, exchange{0, 1, message}, 250, 1},
	{"TCP connections", "1/s", 0, exchange{}, 80, 1},
}

// prepare gives a way to make a turn of it between a pair of pods, in units a
// second.
func (l *load) prepare(p *pair) (turn func() (float64, error), stop func(), err error) {
	run := func(n int) (time.Duration, error) {
		start := time.Now()
		err := open(p.client, p.addr, n)
		return time.Since(start), err
	}
	stop = func() {}
	if l.what.Size > 0 {
		if run, stop, err = l.what.open(p.client, p.addr); err != nil {
			return nil, nil, err
		}
	}
	return func() (float64, error) {
		if _, err := run(1 + l.n/20); err != nil { // caches and processors turn to it
			return 0, err
		}
		took, err := run(l.n)
		return float64(l.n) * l.each / took.Seconds(), err
	}, stop, nil
}

// pods compares, at the same time and in turns too short for the machine to
// change meanwhile, pods that are watched with pods of the same node that
// aren't, and with such that have empty programs at the same hooks. The pods
// that aren't watched run no program of ours: that is what BenchmarkRoundTrip
// shows.
func (b *bed) pods() error {
	var busy, whole time.Duration
	results, err := compare(b.pairs[:], b.rounds, func(n int) (func() error, error) {
		leave, err := b.cast(n)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		before, err := b.probe.cpu()
		return func() error {
			after, err := b.probe.cpu()
			busy, whole = busy+after-before, whole+time.Since(start)
			return errors.Join(err, leave())
		}, err
	})
	if err != nil {
		return err
	}
	tell("between two pods", results, b.rounds)
	fmt.Printf("\nThe probe itself took %.1f %% of one core meanwhile.\n", 100*busy.Seconds()/whole.Seconds())
	return b.probe.tellMemory(b.pair.pods(), func() error { return open(b.client, b.addr, b.opened) })
}

// compare gives, by part and load, what came of the turns. There are as many
// parts as pairs, and each pair has each of them as often: cast says which.
func compare(pairs []pair, rounds int, cast func(n int) (leave func() error, err error)) ([][][]float64, error) {
	parts := len(pairs)
	turns := make([][]func() (float64, error), parts)
	results := make([][][]float64, parts)
	for i := range pairs {
		results[i] = make([][]float64, len(loads))
		for l := range loads {
			turn, stop, err := loads[l].prepare(&pairs[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", loads[l].name, err)
			}
			defer stop()
			turns[i] = append(turns[i], turn)
		}
	}
	for n := range 2 * parts {
		fmt.Fprintf(os.Stderr, "part %d of %d\n", n+1, 2*parts)
		leave, err := cast(n)
		if err != nil {
			return nil, err
		}
		// One load after the other: between turns of another the processor has other
		// things in its caches, and what is measured drowns in that.
		for l := range loads {
			for round := range rounds {
				for i := range parts {
					who := (round + i) % parts
					v, err := turns[who][l]()
					if err != nil {
						return nil, errors.Join(fmt.Errorf("%s: %w", loads[l].name, err), leave())
					}
					part := (who + n) % parts
					results[part][l] = append(results[part][l], v)
				}
			}
		}
		if err := leave(); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// tell prints what came of parts of so many rounds; the first part is to be compared with, the last is watched.
func tell(what string, results [][][]float64, rounds int) {
	head, line := "", ""
	if len(results) > 2 {
		head, line = " empty programs, ratio |", " ---: |"
	}
	fmt.Printf("| %s | not watched | watched |%s ratio | 95 %% of it | target |\n", what, head)
	fmt.Printf("| --- | ---: | ---: |%s ---: | ---: | ---: |\n", line)
	for i, l := range loads {
		target := "none"
		if l.target > 0 {
			target = fmt.Sprintf("≥ %.2f", l.target)
		}
		without, with := results[0][i], results[len(results)-1][i]
		fmt.Printf("| %s, %s | %.4g | %.4g |", l.name, l.unit, median(without), median(with))
		if len(results) > 2 {
			hook, _, _ := ratioOfParts(results[1][i], without, rounds)
			fmt.Printf(" %.3f |", hook)
		}
		mid, low, high := ratioOfParts(with, without, rounds)
		fmt.Printf(" %.3f | %.3f to %.3f | %s |\n", mid, low, high, target)
	}
}

// cast gives each pair the part that it has from now on, in turns.
func (b *bed) cast(n int) (leave func() error, err error) {
	leave = func() error { return nil }
	for i := range b.pairs {
		switch (i + n) % roles {
		case probing:
			// Attaching and reading what was open before aren't observing: the
			// second statistics come when that is done.
			err = errors.Join(err, b.probe.watch(b.pairs[i].pods(), true), b.probe.nextStats(2))
		case hooks:
			leave, err = attachEmpty(b.pairs[i].pods())
		}
		if err != nil {
			return nil, err
		}
	}
	return leave, nil
}
