// SPDX-License-Identifier: Apache-2.0

// Bench measures what observing costs: TCP throughput, request/response rate
// and new connections per second between pods that nobody watches, pods with
// programs that do nothing at the same hooks, and pods that a probe watches, in
// turns. It prints Markdown tables; the figures that matter are the ratios: that
// of the empty programs is what hooks cost whoever uses them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

func main() { os.Exit(run()) }

func run() int {
	probe := flag.String("probe", "bin/ebpol-probe", "the probe's `program`")
	rounds := flag.Int("rounds", 41, "rounds of each part")
	slot := flag.Duration("slot", 200*time.Millisecond, "length of one measurement of latency")
	only := flag.String("only", "", "pods, quiet, blame or storm: this part alone")
	quiet := flag.Duration("quiet", 10*time.Second, "how long the probe's own time is taken while nothing new happens")
	asked := flag.String("ask", "all", "what is `asked` of the probe besides flows: all that a session asks for, or drops")
	opened := flag.Int("connections", 50000, "`connections` to open and close before memory is read for the last time")
	pairs := flag.String("pairs", "", "instead of all else: two pairs of a cluster's pods, each CLIENT SERVER ADDRESS with the network namespaces' `paths`, separated by a comma")
	watch := flag.String("watch", "", "`command` that watches the pair $PAIR, 0 or 1")
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
	if *pairs != "" {
		if err := cluster(strings.Split(*pairs, ","), *watch, *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		return 0
	}
	if err := bench(*probe, *only, *rounds, *slot, *asked == "all", *opened, *quiet); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// bed is a node with pairs of pods, and a probe.
type bed struct {
	node   *netbed.Node
	pair   // the first of pairs
	pairs  [roles]pair
	probe  *probe
	rounds int
	slot   time.Duration
	opened int           // connections before memory is read for the last time
	quiet  time.Duration // how long the probe's own time is taken while nothing new happens
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
	b := &bed{node: node, rounds: rounds, slot: slot, opened: opened, quiet: quiet}
	for i := range b.pairs {
		p, stop, err := addPair(node, i)
		if err != nil {
			return err
		}
		defer stop()
		b.pairs[i] = p
	}
	b.pair = b.pairs[0]

	spawner := netbed.NewSpawner()
	defer spawner.Close()
	p, err := startProbe(spawner, node.Namespace, probePath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	p.all = all

	b.probe = p
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

// ratioOfParts is the geometric mean of the parts' own ratios, each of so many
// rounds. Each pair of pods has each part as often, so what one pair always has
// before another, such as a luckier place in the caches, is in it as often from
// above as from below; a median of all rounds would lie anywhere between.
func ratioOfParts(with, without []float64, rounds int) (mid, low, high float64) {
	var sum, below, above float64
	n := 0
	for i := 0; i < len(with); i += rounds {
		m, l, h := ratio(with[i:i+rounds], without[i:i+rounds])
		sum += math.Log(m)
		below += math.Pow(math.Log(m/l), 2)
		above += math.Pow(math.Log(h/m), 2)
		n++
	}
	at := func(more float64) float64 { return math.Exp((sum + more) / float64(n)) }
	return at(0), at(-math.Sqrt(below)), at(math.Sqrt(above))
}
