// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/suggest"
)

const suggestLong = `Writes least-privilege NetworkPolicies from flows that were seen: live for as
long as --for says, or in a recording. One for each workload, which isolates it
both ways and allows what it did, with the flows behind each rule as a comment.

Pods are named by labels that outlive a rollout, services by the pods behind
them, DNS by what serves it in this cluster, and what lies outside by its
addresses, one by one unless --join-cidrs joins them. What current policies deny
is left out unless --include-denied takes it. The kubelet needs no rule.

The text is asked about the very flows that it was made of before it is
printed: none of them may be denied by it. What was not seen stands at its head.
Nothing is changed in the cluster.`

const suggestExample = `  # for all workloads of a namespace, from ten minutes of traffic
  kubectl ebpol suggest -n shop --for 10m > shop.yaml
  kubectl ebpol dry-run -f shop.yaml --for 10m     # what would it cut?

  # for one workload, from a recording
  kubectl ebpol suggest deploy/web --from web.ebpol | kubectl apply -f -

  # with outside addresses joined
  kubectl ebpol suggest -n shop --from shop.ebpol --join-cidrs /24,/64
  kubectl ebpol suggest -n shop --from shop.ebpol --join-cidrs 203.0.113.0/24`

type suggestCommand struct {
	*globals
	flags  liveFlags
	from   string
	target kube.Target
	all    bool
	join   []string
	joins  []suggest.Join
	denied bool
	given  bool // a namespace was
}

func newSuggest(g *globals) *cobra.Command {
	c := &suggestCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "suggest [KIND/NAME | -n NAMESPACE] --for DURATION | --from RECORDING",
		GroupID: "still",
		Short:   "Write least-privilege policies from flows that were seen",
		Long:    suggestLong,
		Example: suggestExample,
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.complete(args); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	fs := cmd.Flags()
	fs.Lookup("output").Usage = "yaml, or json: a List that can be applied as well, with the flows behind each rule"
	fs.DurationVar(&c.flags.limit, "for", 0, "watch live for so long")
	fs.StringVar(&c.from, "from", "", "take the flows of this recording instead")
	fs.BoolVarP(&c.all, "all-namespaces", "A", false, "for the workloads of all namespaces")
	fs.StringSliceVar(&c.join, "join-cidrs", nil, "join outside addresses into blocks of this length (/24, /64), or into these blocks")
	fs.BoolVar(&c.denied, "include-denied", false, "also allow what current policies deny")
	return cmd
}

func (c *suggestCommand) complete(args []string) (err error) {
	switch c.flags.output {
	case "", "yaml", "json":
	default:
		return fmt.Errorf("output format %q: use yaml or json", c.flags.output)
	}
	switch {
	case c.from != "" && c.flags.limit != 0:
		return errors.New("--for watches live, --from takes a recording: give one of them")
	case c.from == "" && c.flags.limit <= 0:
		return errors.New("say how long to watch with --for, such as --for 10m, or give a recording with --from")
	case c.from != "" && c.flags.record != "":
		return errors.New("--record keeps a live session: it can't be used with --from")
	case c.all && len(args) > 0:
		return errors.New("-A is for the workloads of all namespaces: name none")
	}
	for _, j := range c.join {
		parsed, err := suggest.ParseJoin(j)
		if err != nil {
			return fmt.Errorf("--join-cidrs: %w", err)
		}
		c.joins = append(c.joins, parsed)
	}
	if len(args) > 0 {
		if c.target.Kind, c.target.Name, err = kube.ParseTarget(args); err != nil {
			return err
		}
		if c.target.Kind == "node" {
			return errors.New("policies are for workloads: name one, or a namespace with -n")
		}
	}
	if c.all {
		return nil
	}
	c.given = c.config.Namespace != nil && *c.config.Namespace != ""
	namespace, _, err := c.config.ToRawKubeConfigLoader().Namespace()
	if err != nil && c.from == "" {
		return err
	}
	if err != nil {
		namespace = ""
	}
	if c.from == "" || c.given {
		c.target.Namespace = namespace
	}
	return nil
}

func (c *suggestCommand) run(ctx context.Context) error {
	in, err := c.input(ctx)
	if err != nil {
		return err
	}
	p, err := suggest.From(*in)
	if err != nil {
		return err
	}
	if c.flags.output == "json" {
		return p.WriteJSON(c.Out)
	}
	return p.WriteYAML(c.Out)
}

func (c *suggestCommand) input(ctx context.Context) (*suggest.Input, error) {
	if c.from != "" {
		o, err := c.readRecording(ctx, c.from)
		if err != nil {
			return nil, err
		}
		match, err := c.match(o.log.World(), o.log.Pods())
		if err != nil {
			return nil, err
		}
		cover := o.coverage()
		cover.NoJobs = noJobs
		return &suggest.Input{
			Log: o.log, Coverage: cover, Current: o.policies, Partly: o.partly, Target: match, Denied: c.denied, Join: c.joins, Source: o.source,
		}, nil
	}
	s, err := c.openLive(ctx, &c.flags, wanted{target: c.target})
	if err != nil {
		return nil, err
	}
	match, client, watcher := c.target.Match(s.watcher), s.client, s.watcher
	o, err := c.watch(ctx, s, &c.flags, nil)
	if err != nil {
		return nil, err
	}
	cover := o.coverage()
	cronJobs(ctx, client, c.target.Namespace, cover)
	in := &suggest.Input{
		Log: o.log, Coverage: cover, Current: watcher.State().Policies, Target: match, Denied: c.denied, Join: c.joins, Source: o.source,
	}
	return in, nil
}

// match says which pods of a recording are meant, or that there are none.
func (c *suggestCommand) match(w *identity.World, pods map[string]*identity.Pod) (func(*identity.Pod) bool, error) {
	t := &c.target
	match := func(p *identity.Pod) bool {
		if t.Namespace != "" && p.Namespace != t.Namespace {
			return false
		}
		switch t.Kind {
		case "":
			return true
		case "pod":
			return p.Name == t.Name
		case "svc":
			return serves(w, p, t.Namespace, t.Name)
		}
		return p.Workload == t.Kind+"/"+t.Name
	}
	var names, namespaces []string
	for _, p := range pods {
		if match(p) {
			return match, nil
		}
		namespaces = append(namespaces, p.Namespace)
		kind, name, _ := strings.Cut(p.Workload, "/")
		switch {
		case t.Namespace != "" && p.Namespace != t.Namespace:
		case t.Kind == "pod":
			names = append(names, p.Name)
		case kind == t.Kind:
			names = append(names, name)
		}
	}
	if t.Namespace != "" && !slices.Contains(namespaces, t.Namespace) {
		return nil, fmt.Errorf("the recording has no pod of namespace %q%s", t.Namespace, didYouMean(t.Namespace, slices.Compact(slices.Sorted(slices.Values(namespaces)))))
	}
	if t.Kind == "svc" {
		for _, k := range slices.Sorted(maps.Keys(w.Services)) {
			names = append(names, w.Services[k].Name)
		}
	}
	slices.Sort(names)
	return nil, fmt.Errorf("the recording has no pod of %s/%s%s", t.Kind, t.Name, didYouMean(t.Name, slices.Compact(names)))
}

func serves(w *identity.World, p *identity.Pod, namespace, name string) bool {
	for _, s := range w.Services {
		if s.Name != name || s.Namespace != p.Namespace || namespace != "" && s.Namespace != namespace {
			continue
		}
		for i := range s.Ports {
			if slices.ContainsFunc(s.Ports[i].Backends, func(b identity.Backend) bool { return slices.Contains(p.IPs, b.IP) }) {
				return true
			}
		}
	}
	return false
}
