// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/explain"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/plain"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

const explainLong = `Says whether policies let a connection through, and why, without any traffic
and without a probe: at each end the rule that decides, with its lines; or the
policies that isolate the pod, which of their rules came nearest, and the
least change that would allow the connection.

FROM and TO are ns/pod, pod/name, deploy/name (or sts, ds, job …), svc/name,
node/name, labels:key=value@ns, an IP or a CIDR. TO takes :PORT and /PROTOCOL.

Policies of files stand in the place of the cluster's of the same name. With
--offline there is no cluster: pods, namespaces, services and nodes come from
the files too.

--queries reads one question a line and gives one answer a line, in order. One
that can't be answered gets an "error" beside its id, or beside its "line" if it
has none, and the exit code is 1 in the end:

  {"id":"1","from":"ns/pod","to":"ns/pod","protocol":"TCP","port":80}
  {"id":"1","verdict":"deny","ingress":{"verdict":"deny","isolatedBy":[…]},"egress":{"verdict":"allow"}}`

const explainExample = `  # may web speak to the database?
  kubectl ebpol explain -n shop deploy/web svc/db:5432

  # on a laptop, from files alone
  kubectl ebpol explain --offline -f cluster.yaml -f policies/ shop/web shop/db:5432/TCP

  # what the kernel itself would say, without a packet
  sudo kubectl-ebpol explain --offline -f cluster.yaml shop/web shop/db:5432 --engine all

  # thousands of questions, each answered by every engine
  kubectl ebpol explain --offline -f cluster.yaml --queries q.jsonl --engine all`

type explainCommand struct {
	*globals
	policies  policyFlags
	offline   bool
	queries   string
	engine    string
	asked     bool // for an engine, by the user
	probe     string
	output    string
	namespace string
	from, to  string
	meter     *meter
}

func newExplain(g *globals) *cobra.Command {
	c := &explainCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "explain FROM TO[:PORT][/PROTOCOL] | --queries FILE",
		GroupID: "still",
		Short:   "Say whether policies let a connection through, and why",
		Long:    explainLong,
		Example: explainExample,
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.complete(args); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.policies.add(cmd)
	cmd.Flags().BoolVar(&c.offline, "offline", false, "ask no cluster: pods, namespaces, services and nodes come from the files")
	cmd.Flags().StringVar(&c.queries, "queries", "", "file with one question a line (JSON), or -")
	cmd.Flags().StringVar(&c.engine, "engine", "", "who answers: reference, compiled, kernel (the BPF program, loaded on this machine as root), or all, side by side (default: compiled for queries, else all but kernel)")
	cmd.Flags().StringVar(&c.probe, "probe", "", "the probe's program, for --engine kernel; default: ebpol-probe beside this program or on the PATH")
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "json: the line that --queries gives")
	return cmd
}

func (c *explainCommand) complete(args []string) (err error) {
	switch {
	case c.queries != "" && len(args) > 0:
		return errors.New("give FROM and TO, or --queries, not both")
	case c.queries == "" && len(args) != 2:
		return errors.New("give FROM and TO, such as: explain shop/web shop/db:5432/TCP; or --queries FILE")
	case c.offline && len(c.policies.files) == 0 && c.policies.kustomize == "":
		return errors.New("--offline needs -f or -k: there is no cluster to ask")
	case c.queries == "-" && slices.Contains(c.policies.files, "-"):
		return errors.New("standard input can be the queries or the files, not both")
	case c.output != "" && c.output != "json":
		return fmt.Errorf("output %q: use json, or leave it out", c.output)
	}
	if c.asked = c.engine != ""; !c.asked {
		if c.engine = string(explain.All); c.queries != "" {
			c.engine = string(explain.Compiled)
		}
	}
	if len(args) == 2 {
		c.from, c.to = args[0], args[1]
	}
	if c.offline {
		c.namespace = "default"
		if n := c.config.Namespace; n != nil && *n != "" {
			c.namespace = *n
		}
		return nil
	}
	c.namespace, _, err = c.config.ToRawKubeConfigLoader().Namespace()
	return err
}

func (c *explainCommand) run(ctx context.Context) error {
	c.meter = c.globals.meter()
	defer c.meter.done()
	last := endAtOnce(ctx, c.meter)
	world, policies, err := c.world(ctx)
	if err != nil {
		return err
	}
	if e := explain.Engine(c.engine); e == explain.Kernel || e == explain.All {
		last() // a kernel that is asked has something to take back
	} else {
		c.meter.now("compiling %s for %s", count.Of(len(policies), "policy"), count.Of(len(world.Pods), "pod"))
	}
	b, err := explain.NewBatch(world, policies, explain.Engine(c.engine))
	if err != nil {
		return err
	}
	b.SetNamespace(c.namespace)
	c.meter.done()
	closeKernel, err := c.useKernel(ctx, b)
	if err != nil {
		return err
	}
	defer closeKernel()
	if c.queries != "" {
		return c.batch(b)
	}
	to, protocol, port, err := cutTarget(c.to)
	if err != nil {
		return err
	}
	parts, err := b.Parts(&explain.Query{From: c.from, To: to, Protocol: protocol, Port: port})
	if err != nil {
		return err
	}
	return c.print(b, parts)
}

// print writes the answer, or each of those that one question has.
func (c *explainCommand) print(b *explain.Batch, parts []explain.Part) error {
	differ := explain.Differ(parts)
	if c.output == "json" {
		out := json.NewEncoder(plain.ForJSON(c.Out))
		if !differ {
			return out.Encode(parts[0].Answer)
		}
		for i := range parts {
			if err := out.Encode(&parts[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if differ {
		_, err := io.WriteString(c.Out, printable(b.TextOfParts(parts)))
		return err
	}
	text := b.Text(b.ExplainPart(&parts[0]))
	var disagree error
	if c.asked && explain.Engine(c.engine) == explain.All {
		var table string
		if table, disagree = b.SideBySide(parts[0].Packet); table != "" {
			text = table + "\n" + text
		}
	}
	for _, part := range []string{parts[0].From, parts[0].To} {
		if strings.Contains(part, "/") && isPrefix(part) {
			text += fmt.Sprintf("\nThe same holds for all of %s.\n", part)
		}
	}
	if len(parts) > 1 {
		text += fmt.Sprintf("\nThe same holds for all %d of them.\n", len(parts))
	}
	_, err := io.WriteString(c.Out, printable(text))
	return errors.Join(err, disagree)
}

func (c *explainCommand) batch(b *explain.Batch) error {
	in := c.In
	if c.queries != "-" {
		f, err := os.Open(c.queries)
		if err != nil {
			return unread("--queries", c.queries, err)
		}
		defer f.Close()
		in = f
	}
	return b.Run(in, plain.ForJSON(c.Out))
}

// world is the cluster's, or that of the files; and the policies in it.
func (c *explainCommand) world(ctx context.Context) (*identity.World, []*policy.Policy, error) {
	if c.offline {
		return c.files(ctx)
	}
	candidates, err := c.policies.read(ctx, c.globals, c.namespace)
	if err != nil {
		return nil, nil, err
	}
	_, watcher, err := c.watchCluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer watcher.Close()
	state := watcher.State()
	replaced := map[session.PolicyKey]bool{}
	for _, p := range candidates {
		replaced[session.KeyOf(p)] = true
	}
	list := candidates
	for _, p := range state.Policies {
		if !replaced[session.KeyOf(p)] {
			list = append(list, p)
		}
	}
	for _, n := range state.NotEvaluated {
		fmt.Fprintf(c.ErrOut, "%s %s is not evaluated: %s\n", n.Kind, strings.TrimPrefix(n.Namespace+"/"+n.Name, "/"), n.Why)
	}
	return kube.StandIns(state.World), list, nil
}

func (c *explainCommand) files(ctx context.Context) (*identity.World, []*policy.Policy, error) {
	o := &policy.Objects{Namespace: c.namespace}
	offline, faults, err := kube.ReadObjects(ctx, c.policies.options(c.globals, c.meter), o)
	if err := errors.Join(err, faults); err != nil {
		return nil, nil, err
	}
	for _, n := range o.NotEvaluated {
		fmt.Fprintf(c.ErrOut, "%s %s is not evaluated: policies of this kind are not judged\n", n.Kind, strings.TrimPrefix(n.Namespace+"/"+n.Name, "/"))
	}
	for _, p := range o.Policies {
		for _, w := range p.Warnings {
			fmt.Fprintf(c.ErrOut, "%s %s: %s\n", p.Kind, p.Key(), w)
		}
	}
	for _, text := range offline.Assumed {
		fmt.Fprintln(c.ErrOut, text)
	}
	return offline.World, o.Policies, nil
}

// cutTarget reads TO[:PORT][/PROTOCOL].
func cutTarget(s string) (to, protocol string, port explain.Port, err error) {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		_, err := flow.ParseProtocol(s[i+1:])
		_, number := strconv.Atoi(s[i+1:]) // of a protocol only behind a port: "shop/17" may be a pod
		if err == nil && !isPrefix(s) && (number != nil || strings.Contains(s[:i], ":")) {
			s, protocol = s[:i], s[i+1:]
		}
	}
	to = s
	i := strings.LastIndexByte(s, ':')
	switch {
	case i < 0, strings.HasPrefix(s, "labels:") && i == len("labels:")-1, isAddress(s):
		return to, protocol, port, nil
	}
	to = strings.Trim(s[:i], "[]")
	if _, name, behind := strings.Cut(s[i+1:], "/"); behind {
		if _, err := flow.ParseProtocol(name); err != nil {
			return to, protocol, port, err
		}
	}
	port, err = explain.ParsePort(s[i+1:], true)
	return to, protocol, port, err
}

// isAddress says whether s is an address or block, whose colons aren't a port's.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || isPrefix(s)
}

func isPrefix(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}
