// SPDX-License-Identifier: Apache-2.0

// Benchcompile measures what policies cost in a cluster of the published shape
// (13,678 policies, 604 namespaces, 5,413 pods on 22 nodes): compiling all of
// it, and one change, in milliseconds of one processor; the memory of the
// plugin's half; the kernel's tables of a node with 250 pods; and the time
// from a toggle to its effect in the kernel. It prints a Markdown table.
package main

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/scale"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

func main() { os.Exit(run()) }

func run() int {
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "benchcompile:", err)
		return 1
	}
	return 0
}

const rounds = 40

// cluster is the published shape, as a session holds it.
type cluster struct {
	c        *compile.Compiler
	number   uint64
	world    *identity.World
	modes    []compile.PolicyMode
	nodes    []string
	base     map[string]*ruleset.Pages
	ids      map[netip.Addr]ruleset.EndpointID
	judged   *identity.Pod // a pod of the first node
	toggled  []int         // policies that are for pods of the first node
	relabels int
}

func newCluster(wide int) *cluster {
	w, policies := scale.Make(scale.Real, 1)
	cl := &cluster{c: compile.New(), world: w, nodes: slices.Sorted(maps.Keys(w.Nodes)), base: map[string]*ruleset.Pages{}, ids: map[netip.Addr]ruleset.EndpointID{}}
	for i, p := range policies {
		if wide > 0 && i%wide == 0 && len(p.Ingress) > 0 {
			p.Ingress[0].Peers[0] = policy.Peer{Kind: policy.PodPeer, Namespaces: policy.Everything(), Pods: policy.Equal(map[string]string{"tier": fmt.Sprint("t", i/wide%3)})}
		}
		cl.modes = append(cl.modes, compile.PolicyMode{Policy: p, Current: true, Candidate: true})
	}
	local := map[string]*identity.Pod{} // by namespace
	for _, p := range w.Pods {
		cl.ids[p.IPs[0]] = ruleset.EndpointID(len(cl.ids) + 1) //nolint:gosec // as many as there are pods
		if p.Node != cl.nodes[0] {
			continue
		}
		local[p.Namespace] = p
		if cl.judged == nil || p.Key() < cl.judged.Key() {
			cl.judged = p
		}
	}
	for i, m := range cl.modes {
		if p := local[m.Policy.Namespace]; p != nil && m.Policy.Subject.Pods.Matches(p.Labels) {
			cl.toggled = append(cl.toggled, i)
		}
	}
	return cl
}

// apply compiles, and makes the delta of each of the nodes; it gives that of
// the first one.
func (cl *cluster) apply(nodes []string) (first *ruleset.Delta, err error) {
	cl.number++
	out, err := cl.c.Compile(compile.Input{Generation: cl.number, World: cl.world, Policies: cl.modes, Endpoints: cl.ids})
	if err != nil {
		return nil, err
	}
	for i, name := range nodes {
		pages := out.Pages(name)
		d, err := ruleset.DiffPages(cl.base[name], pages)
		if err != nil {
			return nil, err
		}
		cl.base[name] = pages
		if i == 0 {
			first = d
		}
	}
	return first, nil
}

func (cl *cluster) relabel() {
	cl.relabels++
	w, p := *cl.world, *cl.world.Pods[cl.judged.Key()]
	w.Pods = maps.Clone(w.Pods)
	p.Labels = map[string]string{"app": fmt.Sprint("app", cl.relabels%6), "tier": "t0"}
	w.Pods[p.Key()] = &p
	cl.world = &w
}

func (cl *cluster) addPolicy() {
	p := *cl.modes[cl.toggled[len(cl.toggled)-1-cl.relabels%100]].Policy
	cl.relabels++
	p.Name = fmt.Sprint("added", cl.relabels)
	cl.modes = append(slices.Clone(cl.modes), compile.PolicyMode{Policy: &p, Candidate: true})
}

func (cl *cluster) toggle() {
	cl.modes = slices.Clone(cl.modes)
	m := &cl.modes[cl.toggled[cl.relabels/2%len(cl.toggled)]]
	cl.relabels++
	m.Candidate = !m.Candidate
}

// processor is the time that this process has computed, in ms.
func processor() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for no reason that is possible here
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}

// each gives the median and the worst of some rounds, in ms of one processor.
func (cl *cluster) each(nodes []string, change func()) (median, worst float64, err error) {
	var took []float64
	for range rounds {
		change()
		start := processor()
		if _, err := cl.apply(nodes); err != nil {
			return 0, 0, err
		}
		took = append(took, processor()-start)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], nil
}

func bench() error {
	fmt.Printf("%d policies, %d namespaces, %d pods; one processor's time\n\n", scale.Real.Policies, scale.Real.Namespaces, scale.Real.Pods)
	fmt.Println("| compile | median, ms | worst, ms | target, ms |\n| --- | ---: | ---: | ---: |")
	cl := newCluster(0)
	runtime.GC()
	start := processor()
	out, err := cl.c.Compile(compile.Input{World: cl.world, Policies: cl.modes, Endpoints: cl.ids})
	if err != nil {
		return err
	}
	for _, name := range cl.nodes {
		cl.base[name] = out.Pages(name)
	}
	fmt.Printf("| everything, %d nodes | %.0f | | < 2000 |\n", len(cl.nodes), processor()-start)
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	for _, n := range []int{1, 2, len(cl.nodes)} {
		for _, c := range []struct {
			name   string
			change func()
		}{{"a pod's label changed", cl.relabel}, {"a policy added", cl.addPolicy}, {"a policy toggled", cl.toggle}} {
			// Nodes that were left out catch up before anything is measured.
			for range 2 {
				if _, err := cl.apply(cl.nodes[:n]); err != nil {
					return err
				}
			}
			median, worst, err := cl.each(cl.nodes[:n], c.change)
			if err != nil {
				return err
			}
			fmt.Printf("| %s, deltas for %d nodes | %.2f | %.2f | < 5 |\n", c.name, n, median, worst)
		}
	}
	fmt.Println("\n| memory of a node with 250 pods, and of the plugin | MB | target |\n| --- | ---: | ---: |")
	fmt.Printf("| plugin: compiler and rulesets of %d nodes | %.0f | none |\n", len(cl.nodes), float64(mem.HeapAlloc)/1e6)
	fmt.Printf("| plugin: resident | %.0f | none |\n", resident())
	if err := tables("published shape", cl, true); err != nil {
		return err
	}
	for _, wide := range []int{50, 20, 10} {
		if err := tables(fmt.Sprintf("a third of all pods is a peer of 1 in %d policies more", wide), newCluster(wide), false); err != nil {
			return err
		}
	}
	return nil
}

// tables writes the first node's tables into a kernel.
func tables(what string, cl *cluster, toggles bool) error {
	k, err := kernel.Open(kernel.Options{})
	if err != nil {
		return err
	}
	defer k.Close()
	empty := k.MapBytes()
	nodes := cl.nodes[:1]
	clear(cl.base)
	d, err := cl.apply(nodes)
	if err != nil {
		return err
	}
	if err := k.Apply(d); err != nil {
		return err
	}
	fmt.Printf("| kernel: %s, %d matches; without any %.1f | %.1f | < 64 |\n", what, cl.base[nodes[0]].Matches.Len(), float64(empty)/1e6, float64(k.MapBytes())/1e6)
	if !toggles {
		return nil
	}
	var took []time.Duration
	for range rounds {
		cl.toggle()
		start := time.Now()
		if d, err = cl.apply(nodes); err != nil {
			return err
		}
		if !d.Empty() {
			if err := k.Apply(d); err != nil {
				return err
			}
		} else {
			cl.base[nodes[0]].Generation = k.Generation() // nothing was sent
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	defer fmt.Printf("\n| toggle to effect in the kernel | median | worst | target |\n| --- | ---: | ---: | ---: |\n| compile, delta and maps of one node | %s | %s | < 50ms |\n",
		took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
	return nil
}

// resident is what this process has in memory, in MB.
func resident() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, pages float64
	if _, err := fmt.Sscan(string(text), &total, &pages); err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / 1e6
}
