// SPDX-License-Identifier: Apache-2.0

// Bench measures what observing costs: TCP throughput, request/response rate
// and new connections per second between two network namespaces, alternating
// within one run between nothing, programs that do nothing at the same hooks,
// and a probe that watches both. It prints Markdown tables; the figures that
// matter are the ratios: that of the empty programs is what hooks cost whoever
// uses them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

func main() { os.Exit(run()) }

func run() int {
	probe := flag.String("probe", "bin/ebpol-probe", "the probe's `program`")
	rounds := flag.Int("rounds", 41, "rounds with and as many without the probe")
	slot := flag.Duration("slot", 200*time.Millisecond, "length of one measurement")
	only := flag.String("only", "", "pods, quiet, blame or storm: this part alone")
	quiet := flag.Duration("quiet", 10*time.Second, "how long the probe's own time is taken while nothing new happens")
	asked := flag.String("ask", "all", "what is `asked` of the probe besides flows: all that a session asks for, or drops")
	opened := flag.Int("connections", 50000, "`connections` to open and close before memory is read for the last time")
	flag.Parse()
	if *quiet < time.Second {
		fmt.Fprintf(os.Stderr, "bench: -quiet %s: use 1s or more\n", *quiet)
		return 2
	}
	if *rounds < 1 {
		fmt.Fprintf(os.Stderr, "bench: -rounds %d: use 1 or more\n", *rounds)
		return 2
	}
	if *asked != "all" && *asked != "drops" {
		fmt.Fprintf(os.Stderr, "bench: -ask %q: use all or drops\n", *asked)
		return 2
	}
	if err := bench(*probe, *only, *rounds, *slot, *asked == "all", *opened, *quiet); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// load is one kind of traffic.
type load struct {
	name, unit string
	target     float64 // what the ratio should be at least; 0: none was set
	run        func(client *netbed.Pod, to netip.AddrPort, d time.Duration) (float64, error)
}

var loads = []load{
	{"TCP throughput, two processors", "bit/s", 0.99, pinned(sink, 0, 1, stream)},
	{"TCP request/response, one processor", "1/s", 0.97, pinned(pong, 1, 1, request)},
	{"TCP request/response, two processors", "1/s", 0.97, pinned(pong, 0, 1, request)},
	{"TCP connections", "1/s", 0, connections},
}

// bed is a node with two pods, a server in one of them, and a probe.
type bed struct {
	node           *netbed.Node
	client, server *netbed.Pod
	addr           netip.AddrPort
	probe          *probe
	rounds         int
	slot           time.Duration
	opened         int           // connections before memory is read for the last time
	quiet          time.Duration // how long the probe's own time is taken while nothing new happens
}

func bench(probePath, only string, rounds int, slot time.Duration, all bool, opened int, quiet time.Duration) (err error) {
	if err := netbed.Supported(); err != nil {
		return err
	}
	node, err := netbed.NewNode("node", netip.MustParseAddr("10.89.0.1"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	client, err := node.AddPod("client", netip.MustParseAddr("10.89.0.2"))
	if err != nil {
		return err
	}
	server, err := node.AddPod("server", netip.MustParseAddr("10.89.0.3"))
	if err != nil {
		return err
	}
	addr := netip.AddrPortFrom(server.IPs[0], 5001)
	stop, err := serve(server, addr)
	if err != nil {
		return err
	}
	defer stop()

	spawner := netbed.NewSpawner()
	defer spawner.Close()
	p, err := startProbe(spawner, node.Namespace, probePath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	p.all = all

	b := &bed{node, client, server, addr, p, rounds, slot, opened, quiet}
	for _, part := range []struct {
		name string
		run  func() error
	}{{"quiet", b.tellQuiet}, {"pods", b.pods}, {"blame", b.blame}, {"storm", b.storm}} {
		if only == "" || only == part.name {
			if err := part.run(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pods compares a probe that watches both pods with one that watches nobody,
// and with programs that do nothing.
func (b *bed) pods() error {
	pods := []*netbed.Pod{b.client, b.server}
	var results [states][][]float64
	for s := range results {
		results[s] = make([][]float64, len(loads))
	}
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, b.rounds)
		for i := range states {
			state := (round + i) % states
			leave, err := b.probe.enter(state, pods)
			if err != nil {
				return err
			}
			for i, l := range loads {
				v, err := l.run(b.client, b.addr, b.slot)
				if err != nil {
					return fmt.Errorf("%s: %w", l.name, err)
				}
				results[state][i] = append(results[state][i], v)
			}
			if err := leave(); err != nil {
				return err
			}
		}
	}
	fmt.Println("| between two network namespaces | without | empty programs | with the probe | empty, ratio | probe, ratio | 95 % of it | target |")
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for i, l := range loads {
		target := "none"
		if l.target > 0 {
			target = fmt.Sprintf("≥ %.2f", l.target)
		}
		without, empty, with := results[nothing][i], results[hooks][i], results[probing][i]
		hook, _, _ := ratio(empty, without)
		mid, low, high := ratio(with, without)
		fmt.Printf("| %s, %s | %.4g | %.4g | %.4g | %.3f | %.3f | %.3f to %.3f | %s |\n",
			l.name, l.unit, median(without), median(empty), median(with), hook, mid, low, high, target)
	}
	return b.probe.tellMemory(pods, func() error { return open(b.client, b.addr, b.opened) })
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// ratio is the median of the rounds' own ratios: what disturbs the machine for
// a while disturbs both halves of a round, and short rounds have little time to
// be disturbed. The median lies between low and high with 95 %, whatever the
// ratios are distributed like.
func ratio(with, without []float64) (mid, low, high float64) {
	r := make([]float64, len(with))
	for i := range r {
		r[i] = with[i] / without[i]
	}
	slices.Sort(r)
	n := float64(len(r))
	k := max(0, int(n/2-0.98*math.Sqrt(n)))
	return median(r), r[k], r[len(r)-1-k]
}
