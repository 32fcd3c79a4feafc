// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const catchLong = `Waits for the next connection from FROM to TO and tells its whole story, hop by
hop: what the policies say where it leaves, the netfilter rules that it meets
on each node, what the policies say where it arrives, what became of it, and,
if it was dropped, by whom. Then it ends.

FROM and TO are ns/pod, pod/name, deploy/name (or sts, ds, job …), svc/name,
node/name, an IP or a CIDR; one of them must be pods. TO takes :PORT and
/PROTOCOL. Probes are put only on the nodes that these pods run on.

It ends with 0 once it has caught one, with 1 if none came within --timeout.`

const catchExample = `  # why does web not reach the database?
  kubectl ebpol catch -n shop deploy/web svc/db:5432

  # the next packet of anybody that is dropped on its way to the name servers
  kubectl ebpol catch 10.244.0.0/16 kube-system/svc/kube-dns:53 --dropped

  # for a program
  kubectl ebpol catch -n shop deploy/web 10.0.0.7:443 -o json | jq .type`

type catchCommand struct {
	*globals
	flags    liveFlags
	format   lines.Format
	dropped  bool
	timeout  time.Duration
	from, to catchEnd
	protocol flow.Protocol
	port     uint16
}

func newCatch(g *globals) *cobra.Command {
	c := &catchCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "catch FROM TO[:PORT][/PROTOCOL]",
		GroupID: "live",
		Short:   "Wait for the next connection between two, and tell its whole story",
		Long:    catchLong,
		Example: catchExample,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.complete(args); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	cmd.Flags().BoolVar(&c.dropped, "dropped", false, "wait for one that is dropped")
	cmd.Flags().DurationVar(&c.timeout, "timeout", time.Minute, "how long to wait, from when the probes are there")
	return cmd
}

func (c *catchCommand) complete(args []string) error {
	format, _, err := c.shown(c.flags.output)
	if err != nil {
		return err
	}
	c.format = format
	if c.timeout <= 0 {
		return fmt.Errorf("timeout %s: use more than 0, such as 60s", c.timeout)
	}
	namespace, _, err := c.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return err
	}
	to, protocol, port, err := cutTarget(args[1])
	if err != nil {
		return err
	}
	if protocol != "" {
		if c.protocol, err = flow.ParseProtocol(protocol); err != nil {
			return err
		}
	}
	if port.Name != "" {
		return fmt.Errorf("port %q: give its number", port.Name)
	}
	c.port = port.Number
	if c.from, err = parseEnd(args[0], namespace); err != nil {
		return err
	}
	if c.to, err = parseEnd(to, namespace); err != nil {
		return err
	}
	if c.from.target == nil && c.to.target == nil {
		return fmt.Errorf("neither %q nor %q is a pod: a probe sees packets where pods send or get them", args[0], args[1])
	}
	c.flags.limit = c.timeout
	return nil
}

func (c *catchCommand) run(ctx context.Context) error {
	var watcher *kube.Watcher
	s, err := c.openLive(ctx, &c.flags, wanted{pods: func(w *kube.Watcher) (func(*identity.Pod) bool, error) {
		watcher = w
		for _, e := range []*catchEnd{&c.from, &c.to} {
			if err := e.look(w); err != nil {
				return nil, err
			}
		}
		return func(p *identity.Pod) bool { return c.from.is(p) || c.to.is(p) }, nil
	}})
	if err != nil {
		return err
	}
	// Services are left at another port than that of their pods, so the ports of
	// what is caught are compared here, where services are known.
	caught := func() {
		w := watcher.State().World
		p := &wire.Pattern{From: c.from.prefixes(w), To: c.to.prefixes(w), Protocol: uint32(c.protocol)}
		s.SetOptions(func(o *wire.Options) { o.Catch = p })
	}
	if c.flags.noBlame {
		caught = func() {}
	}
	caught()
	ca := &catcher{c: c, world: func() *identity.World { return watcher.State().World }, refresh: caught, printer: lines.New(c.Out, c.format)}
	ca.ready = func() { fmt.Fprintf(c.ErrOut, "waiting for %s: make it try now\n", c.what()) }
	err = c.runRecorded(ctx, s, &c.flags, view{
		page: "flows", lines: ca, every: 100 * time.Millisecond, progress: true, readOnly: c.flags.readOnly, limit: c.timeout + storyWithin + lateWithin,
		header: store.Options{Source: c.sourceName(), Requests: s.client.Requests},
	})
	if err = without(err, errCaught); err != nil {
		return err
	}
	if !ca.told && ctx.Err() == nil {
		return fmt.Errorf("%s was not seen within %s%s", c.what(), c.timeout, ca.hint())
	}
	return nil
}

// what is waited for, in words.
func (c *catchCommand) what() string {
	s := fmt.Sprintf("a connection from %s to %s", c.from.text, c.to.text)
	if c.port != 0 {
		s += fmt.Sprintf(":%d", c.port)
	}
	if c.protocol != 0 {
		s += "/" + c.protocol.String()
	}
	if c.dropped {
		s += " that is dropped"
	}
	return s
}

// without takes one error out of those that were joined.
func without(err, gone error) error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var left []error
		for _, e := range list.Unwrap() {
			left = append(left, without(e, gone))
		}
		return errors.Join(left...)
	}
	if errors.Is(err, gone) {
		return nil
	}
	return err
}

// takes says whether the event is about a connection that is waited for, or a
// packet of one.
func (c *catchCommand) takes(e *flow.Event, w *identity.World) bool {
	if e.Source == nil || e.Destination == nil || c.protocol != 0 && e.Protocol != c.protocol {
		return false
	}
	if !c.from.has(e.Source, w) || !c.to.has(e.Destination, w) {
		return false
	}
	return c.port == 0 || e.Destination.Port == c.port || c.behind(e, w)
}

// behind says whether a packet that has already been sent on to a pod was for
// the port of a service that is waited for.
func (c *catchCommand) behind(e *flow.Event, w *identity.World) bool {
	if c.to.target == nil || c.to.target.Kind != "svc" || w == nil {
		return false
	}
	s := w.Services[c.to.target.Namespace+"/"+c.to.target.Name]
	if s == nil {
		return false
	}
	for _, p := range s.Ports {
		if p.Port != c.port || p.Protocol != e.Protocol {
			continue
		}
		if slices.ContainsFunc(p.Backends, func(b identity.Backend) bool { return b.IP == e.Destination.IP && b.Port == e.Destination.Port }) {
			return true
		}
	}
	return false
}

// hint says what was seen instead.
func (ca *catcher) hint() string {
	var near []string
	for name := range ca.near {
		near = append(near, name)
	}
	if len(near) == 0 {
		return ": nothing at all was seen of them. Make it try while this waits, and look at kubectl get pods"
	}
	slices.Sort(near)
	if len(near) > 5 {
		near = append(near[:5], fmt.Sprintf("%d more", len(near)-5))
	}
	return "; seen meanwhile: " + strings.Join(near, ", ")
}
