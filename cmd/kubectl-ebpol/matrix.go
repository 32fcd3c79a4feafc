// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/matrix"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

const matrixLong = `Says for every pair of workloads, and each port that the destination is known
by, whether policies let it through: those of the cluster, and beside them those
that it would have with the files. A policy of a file stands in the place of the
cluster's of the same name; with --base there is no cluster, and the files of
--base are compared with those of -f.

Ports are those of containers, services and rules, or those of --port. A
reserved address stands for all that lies outside of the cluster.`

const matrixExample = `  kubectl ebpol matrix                                 # of the current namespace
  kubectl ebpol matrix -n shop -f deny.yaml --diff     # what would change
  kubectl ebpol matrix -f world.yaml -f old.yaml -o svg > shop.svg
  kubectl ebpol matrix --base main/ -f branch/ --diff  # two states of a repository`

type matrixCommand struct {
	*globals
	flags  givenFlags
	output string
	diff   bool
	base   []string
	ports  []string
}

var matrixWriters = map[string]func(io.Writer, *matrix.Matrix) error{
	"": matrix.WriteTable, "dot": matrix.WriteDOT, "svg": matrix.WriteSVG, "json": matrixJSON,
}

func newMatrix(g *globals) *cobra.Command {
	c := &matrixCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "matrix [-f FILE | -n NAMESPACE | -A]",
		GroupID: "still",
		Short:   "Say which workload may speak to which, now and with other policies",
		Long:    matrixLong,
		Example: matrixExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	c.flags.add(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&c.output, "output", "o", "", "json (one pair and port a line), dot or svg; a table if left out")
	fs.BoolVar(&c.diff, "diff", false, "only what would change")
	fs.StringSliceVar(&c.base, "base", nil, "file or folder with the policies, pods and namespaces to compare the files of -f with")
	fs.StringSliceVar(&c.ports, "port", nil, "ask for these ports of every destination, such as 80 or 53/UDP")
	return cmd
}

func (c *matrixCommand) run(ctx context.Context) error {
	write, ok := matrixWriters[c.output]
	if !ok {
		return fmt.Errorf("output format %q: use json, dot or svg, or leave -o out", c.output)
	}
	var in matrix.Input
	for _, s := range c.ports {
		p, err := matrix.ParsePort(s)
		if err != nil {
			return err
		}
		in.Ports = append(in.Ports, p)
	}
	wait := c.meter()
	defer wait.done()
	endAtOnce(ctx, wait)
	notes, err := c.sets(ctx, &in, wait)
	if err != nil {
		return err
	}
	if c.diff && in.Candidate == nil {
		return errors.New("--diff needs two sets of policies: the cluster's and those of -f, or those of --base and of -f")
	}
	in.Tell = func(done, all int) { wait.part("asking", done, all) }
	m, err := matrix.Build(in)
	if err != nil {
		return err
	}
	wait.done()
	c.tell(notes)
	changes := m.Changes()
	if c.diff {
		if m = m.Changed(); changes == 0 && c.output == "" {
			_, err := fmt.Fprintln(c.Out, "nothing would change")
			return err
		}
	}
	var text strings.Builder
	if err := write(&text, m); err != nil {
		return err
	}
	if _, err := io.WriteString(c.Out, printable(text.String())); err != nil || c.output != "" || in.Candidate == nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%d of these answers would change\n", changes)
	return err
}

// sets finds the world and the one or two sets of policies.
func (c *matrixCommand) sets(ctx context.Context, in *matrix.Input, m *meter) ([]string, error) {
	given, err := c.gather(ctx, &c.flags, m)
	if err != nil {
		return nil, err
	}
	if given.faults != nil {
		return nil, given.faults
	}
	in.World, in.Namespace = given.world, given.namespace
	switch {
	case len(c.base) > 0:
		return given.notes, c.compareWithBase(ctx, in, given, m)
	case given.offline:
		in.Current = given.files
	default:
		in.Current = given.current
		if len(given.files) > 0 {
			in.Candidate = given.candidate()
		}
	}
	return given.notes, nil
}

// compareWithBase takes the policies of --base as they are and those of -f as
// they would be. The world is that of both: what one leaves out the other has.
func (c *matrixCommand) compareWithBase(ctx context.Context, in *matrix.Input, given *given, m *meter) error {
	if len(c.flags.files) == 0 && c.flags.kustomize == "" {
		return errors.New("--base needs files to compare with: give some with -f")
	}
	base := c.flags.policyFlags
	base.files, base.kustomize = c.base, ""
	objects := &policy.Objects{Namespace: "default"}
	_, faults, err := kube.ReadObjects(ctx, base.options(c.globals, m), objects)
	if err := errors.Join(err, faults); err != nil {
		return err
	}
	in.Current, in.Candidate = objects.Policies, given.files
	if in.Candidate == nil {
		in.Candidate = []*policy.Policy{}
	}
	if !given.offline {
		return nil
	}
	both := base
	both.files, both.kustomize = append(slices.Clone(c.base), c.flags.files...), c.flags.kustomize
	world, faults, err := kube.ReadObjects(ctx, both.options(c.globals, m), &policy.Objects{})
	if err := errors.Join(err, faults); err != nil {
		return err
	}
	in.World = world.World
	return nil
}

// matrixJSON writes one object for each pair and port that was asked for.
func matrixJSON(w io.Writer, m *matrix.Matrix) error {
	out := lines.New(w, lines.JSON)
	for i, from := range m.Rows {
		for j, to := range m.Columns {
			cell := m.Cells[i][j]
			if cell.Current == matrix.None {
				continue
			}
			line := struct {
				From matrix.End `json:"from"`
				To   matrix.End `json:"to"`
				matrix.Port
				Current   matrix.Answer `json:"current"`
				Candidate matrix.Answer `json:"candidate,omitempty"`
				Changes   bool          `json:"changes,omitempty"`
			}{from, to.To, to.Port, cell.Current, cell.Candidate, cell.Changes()}
			if err := out.Object(line); err != nil {
				return err
			}
		}
	}
	return nil
}
