// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/weight"
)

const weighLong = `Says how heavy policies are for the network plugin: the seven numbers of each
(local pods - single ports - port ranges - pod selectors - peer namespaces -
peer pods - CIDRs), and which part of the limit for such policies it uses up.
Below 1 in all, a cluster that meets its limits meets this too.

Limits are a property of plugin, version and hardware. Without --limits the
published example is used, which belongs to no cluster: it orders policies, but
says nothing about yours.`

const weighExample = `  kubectl ebpol weigh -A
  kubectl ebpol weigh -A --limits measured.csv -o json
  kubectl ebpol weigh -f policies.yaml          # in the cluster's world`

type weighCommand struct {
	*globals
	flags  givenFlags
	output string
	limits string
	top    int
}

func newWeigh(g *globals) *cobra.Command {
	c := &weighCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "weigh [-f FILE | -n NAMESPACE | -A]",
		GroupID: "still",
		Short:   "Say what policies cost, heaviest first",
		Long:    weighLong,
		Example: weighExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	c.flags.add(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&c.output, "output", "o", "", "json (one policy a line, then the sums); a table if left out")
	fs.StringVar(&c.limits, "limits", "", "CSV file: local pods, selectors, single ports, port ranges, peer namespaces, peer pods, CIDRs, limit")
	fs.IntVar(&c.top, "top", 20, "how many policies and namespaces the table shows; 0: all")
	return cmd
}

// weighed is what weigh found.
type weighed struct {
	weight.Sum
	limits   string
	compiled compiledCost
}

// compiledCost is what the policies become in our own tables, on all nodes.
type compiledCost struct {
	Sets    int `json:"sets"`
	Bits    int `json:"bits"`    // of the longest set
	Ports   int `json:"ports"`   // entries, those that ranges are split into included
	Peers   int `json:"peers"`   // addresses and blocks
	Matches int `json:"matches"` // entries
	Nodes   int `json:"nodes"`
}

func (c *weighCommand) run(ctx context.Context) error {
	if c.output != "" && c.output != "json" {
		return fmt.Errorf("output format %q: use json, or leave -o out", c.output)
	}
	limits, name, err := c.readLimits()
	if err != nil {
		return err
	}
	m := c.meter()
	defer m.done()
	endAtOnce(ctx, m)
	given, err := c.gather(ctx, &c.flags, m)
	if err != nil {
		return err
	}
	if given.faults != nil {
		return given.faults
	}
	m.now("weighing and compiling %s for %s", count.Of(len(given.about()), "policy"), count.Of(len(given.world.Pods), "pod"))
	out := weighed{Sum: weight.New(given.world, limits).Sum(given.about()), limits: name}
	if out.compiled, err = compiledCostOf(given); err != nil {
		return err
	}
	m.done()
	c.tell(given.notes)
	if c.output == "json" {
		return c.json(&out)
	}
	return c.table(&out)
}

func (c *weighCommand) readLimits() ([]weight.Limit, string, error) {
	if c.limits == "" {
		return weight.Illustrative(), "illustrative limits, of no cluster", nil
	}
	f, err := os.Open(c.limits)
	if err != nil {
		return nil, "", unread("--limits", c.limits, err)
	}
	defer f.Close()
	limits, err := weight.ReadLimits(f)
	if err != nil {
		return nil, "", fmt.Errorf("%q: %w", c.limits, err)
	}
	return limits, "limits of " + c.limits, nil
}

// compiledCostOf compiles what the command is about, for every node at once.
func compiledCostOf(g *given) (compiledCost, error) {
	var policies []compile.PolicyMode
	for _, p := range g.about() {
		policies = append(policies, compile.PolicyMode{Policy: p, Current: true, Candidate: true})
	}
	out, err := compile.New().Compile(compile.Input{Generation: 1, World: g.world, Policies: policies})
	if err != nil {
		return compiledCost{}, err
	}
	var cost compiledCost
	nodes := map[string]bool{}
	for _, p := range g.world.Pods {
		if !p.Done && !p.HostNetwork {
			nodes[p.Node] = true
		}
	}
	for n := range nodes {
		r := out.Node(n)
		cost.Nodes++
		cost.Sets += len(r.Sets)
		cost.Ports += len(r.Ports) + len(r.PortRanges)
		cost.Peers += len(r.Peers)
		cost.Matches += len(r.Matches)
		for i := range r.Sets {
			cost.Bits = max(cost.Bits, len(out.Names(r.Sets[i].ID).Bits))
		}
		out.Forget(n) // the rulesets of all nodes at once may be gigabytes
	}
	return cost, nil
}

func (c *weighCommand) json(out *weighed) error {
	p := lines.New(c.Out, lines.JSON)
	for i := range out.Policies {
		if err := p.Object(struct {
			Type string `json:"type"`
			weight.Estimate
		}{"policy", out.Policies[i]}); err != nil {
			return err
		}
	}
	for _, ns := range out.Namespaces {
		if err := p.Object(struct {
			Type string `json:"type"`
			weight.NamespaceSum
		}{"namespace", ns}); err != nil {
			return err
		}
	}
	return p.Object(struct {
		Type     string       `json:"type"`
		Policies int          `json:"policies"`
		Weight   float64      `json:"weight"`
		Unknown  int          `json:"unknown,omitempty"`
		Limits   string       `json:"limits"`
		Compiled compiledCost `json:"compiled"`
	}{"sum", len(out.Policies), out.Weight, out.Unknown, out.limits, out.compiled})
}

func (c *weighCommand) table(out *weighed) error {
	tw := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "WEIGHT\tPROFILE\tPOLICY\tNOTE")
	for _, e := range first(out.Policies, c.top) {
		note := e.Why
		if e.Unknown > 0 {
			note = count.Of(e.Unknown, "rule") + " that no limit covers"
		}
		name := e.Policy
		if e.Kind != "NetworkPolicy" {
			name = string(e.Kind) + " " + name
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", amount(e.Weight), e.Profile, printable(name), note)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	more(c.Out, len(out.Policies), c.top, "policies")
	if len(out.Namespaces) > 1 {
		fmt.Fprintln(tw, "\nWEIGHT\tPOLICIES\tNAMESPACE")
		for _, ns := range first(out.Namespaces, c.top) {
			name := ns.Namespace
			if name == "" {
				name = "(cluster)"
			}
			fmt.Fprintf(tw, "%s\t%d\t%s\n", amount(ns.Weight), ns.Policies, printable(name))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		more(c.Out, len(out.Namespaces), c.top, "namespaces")
	}
	fmt.Fprintf(c.Out, "\n%s of %s by %s: %s\n", amount(out.Weight), count.Of(len(out.Policies), "policy"), out.limits, judgement(out))
	k := out.compiled
	_, err := fmt.Fprintf(c.Out, "compiled here: %s (longest %s), %s, %s, %s on %s\n", count.Of(k.Sets, "set"), count.Of(k.Bits, "bit"),
		count.Of(k.Ports, "port entry"), count.Of(k.Peers, "peer"), count.Of(k.Matches, "match"), count.Of(k.Nodes, "node"))
	return err
}

func uncounted(rules int) string {
	if rules == 1 {
		return "1 rule is not counted, since no limit covers it"
	}
	return fmt.Sprintf("%d rules are not counted, since no limit covers them", rules)
}

func judgement(out *weighed) string {
	switch {
	case out.Unknown > 0:
		return uncounted(out.Unknown)
	case out.Weight < 1:
		return "below 1, a cluster with these limits holds them"
	}
	return "1 or more, a cluster with these limits may not hold them"
}

// amount is a weight with as many digits as matter.
func amount(w float64) string {
	if w == 0 {
		return "0"
	}
	return fmt.Sprintf("%.3g", w)
}

func first[T any](list []T, n int) []T {
	if n <= 0 {
		return list
	}
	return slices.Clone(list[:min(n, len(list))])
}

func more(w io.Writer, all, shown int, what string) {
	if shown > 0 && all > shown {
		fmt.Fprintf(w, "… and %d more %s (--top 0 shows all)\n", all-shown, what)
	}
}
