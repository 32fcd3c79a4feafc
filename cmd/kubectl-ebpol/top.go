// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

const topLong = `Shows workloads by traffic, with how many of their flows are allowed, would be
denied, are denied, and what was dropped. A probe is put on each node that the
pods run on, for as long as you look.

On a terminal it opens a screen; otherwise it prints a table each interval, or
with -o json one object for each workload.`

const topExample = `  kubectl ebpol top                 # of the current namespace
  kubectl ebpol top -A --node n1    # of all pods on a node
  kubectl ebpol top -n shop -l app=web -o json --for 10s`

type topCommand struct {
	*globals
	flags    liveFlags
	where    where
	by       string
	interval time.Duration
	target   kube.Target
	format   lines.Format
	screen   bool
}

func newTop(g *globals) *cobra.Command {
	c := &topCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "top",
		GroupID: "live",
		Short:   "Show workloads by traffic, verdicts and drops",
		Long:    topLong,
		Example: topExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.complete(); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	c.addLooks(cmd)
	c.where.add(cmd)
	cmd.Flags().StringVar(&c.by, "by", "workload", "sum up by workload, pod, namespace, node, port or external (name)")
	cmd.Flags().DurationVar(&c.interval, "interval", 2*time.Second, "between tables; at least 200ms")
	cmd.Flags().DurationVar(&c.flags.limit, "for", 0, "end after so long; 0: when you end it")
	return cmd
}

func (c *topCommand) complete() (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	switch c.by {
	case "workload", "pod", "namespace", "node", "port", "external":
	default:
		return fmt.Errorf("--by %q: use workload, pod, namespace, node, port or external", c.by)
	}
	if c.interval < 200*time.Millisecond {
		return fmt.Errorf("--interval %s: at least 200ms", c.interval)
	}
	c.target, err = c.where.target(c.globals)
	return err
}

func (c *topCommand) run(ctx context.Context) error {
	s, err := c.openLive(ctx, &c.flags, wanted{target: c.target})
	if err != nil {
		return err
	}
	return c.runRecorded(ctx, s, &c.flags, view{
		page: "top", title: c.target.String(), screen: c.screen, lines: &table{out: lines.New(c.Out, c.format), w: c.Out, format: c.format, by: c.by},
		limit: c.flags.limit, every: c.interval, progress: true, readOnly: c.flags.readOnly, header: store.Options{Source: c.sourceName(), Requests: s.client.Requests},
	})
}

// table prints workloads at each tick.
type table struct {
	out    *lines.Printer
	w      interface{ Write([]byte) (int, error) }
	format lines.Format
	by     string
	last   uint64
}

var _ liner = (*table)(nil)

// Event implements [liner]; only what is lost is worth a line of its own.
func (t *table) Event(e *flow.Event) error {
	if e.Type != flow.LossEvent && e.Type != flow.GapEvent {
		return nil
	}
	return t.out.Print(e)
}

// Tick implements [liner].
func (t *table) Tick(s *store.Store) error {
	snap := s.Snapshot(store.Query{Workloads: true, GroupBy: t.by})
	if snap.ID == t.last || len(snap.Workloads) == 0 {
		return nil
	}
	t.last = snap.ID
	if t.format == lines.JSON {
		for _, w := range snap.Workloads {
			if err := t.out.Object(workloadLine(snap.Time, w)); err != nil {
				return err
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	head := "NAMESPACE\tNAME\tPODS\tOPEN\tRATE\tIN\tOUT\tALLOWED\tWOULD-DENY\tDENIED\tCONTESTED\tDROPPED"
	if t.format == lines.Wide {
		head += "\tENFORCED\tNODES"
	}
	fmt.Fprintf(tw, "%s\n", head)
	for _, w := range snap.Workloads {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s/s\t%s\t%s\t%d\t%d\t%d\t%d\t%d", dash(w.Namespace), w.Name, w.Pods, w.Flows,
			lines.Bytes(uint64(w.Rate)), lines.Bytes(w.BytesIn), lines.Bytes(w.BytesOut), w.Allowed, w.WouldDeny, w.Denied, w.Contested, w.Dropped)
		if t.format == lines.Wide {
			fmt.Fprintf(tw, "\t%d\t%s", w.Enforced, strings.Join(w.Nodes, ","))
		}
		fmt.Fprintln(tw)
	}
	if l := snap.Health.Loss; l.Any() {
		fmt.Fprintf(tw, "samples left out: %d; counters are exact\n", l.Ring+l.Thinned+l.Table+l.Resent)
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

// End implements [liner]: the last state, which a short session may not have
// seen at a tick.
func (t *table) End(s *store.Store) error {
	if err := t.Tick(s); err != nil {
		return err
	}
	return t.out.Isolation(s.Snapshot(store.Query{Nodes: true}).Isolation)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// workload is one object of `top -o json`.
type workload struct {
	Type      string    `json:"type"` // "workload"
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name"`
	Pods      int       `json:"pods"`
	Nodes     []string  `json:"nodes,omitempty"`
	Flows     int       `json:"flows"`
	Rate      float64   `json:"rate"` // bytes per second
	BytesIn   uint64    `json:"bytesIn"`
	BytesOut  uint64    `json:"bytesOut"`
	Allowed   uint64    `json:"allowed"`
	WouldDeny uint64    `json:"wouldDeny"`
	Denied    uint64    `json:"denied"`
	Contested uint64    `json:"contested"`
	Dropped   uint64    `json:"dropped"`
	Enforced  uint64    `json:"enforced"`
}

func workloadLine(at time.Time, w *store.WorkloadRow) workload {
	return workload{
		Type: "workload", Time: at, Namespace: w.Namespace, Name: w.Name, Pods: w.Pods, Nodes: w.Nodes, Flows: w.Flows, Rate: w.Rate,
		BytesIn: w.BytesIn, BytesOut: w.BytesOut, Allowed: w.Allowed, WouldDeny: w.WouldDeny, Denied: w.Denied, Contested: w.Contested,
		Dropped: w.Dropped, Enforced: w.Enforced,
	}
}
