// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/lint"
	"github.com/ebpol/kubectl-ebpol/pkg/plain"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/version"
)

const lintLong = `Finds what is probably not meant in policies, without traffic and with read
rights only: those of a namespace, or those of files. Files are judged in the
world of the cluster, or in their own if they hold pods or workloads.

The exit code is 1 if a finding is as severe as --fail-on, 2 if something could
not be read at all.`

const lintExample = `  kubectl ebpol lint                          # of the current namespace
  kubectl ebpol lint -A --fail-on error
  helm template . | kubectl ebpol lint --offline -f -
  kubectl ebpol lint -R -f manifests -o sarif > lint.sarif
  kubectl ebpol lint --list                   # every check`

type lintCommand struct {
	*globals
	flags  givenFlags
	output string
	failOn string
	list   bool
	worst  lint.Severity
}

func newLint(g *globals) *cobra.Command {
	c := &lintCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "lint [-f FILE | -n NAMESPACE | -A]",
		GroupID: "still",
		Short:   "Find what is probably not meant in policies",
		Long:    lintLong,
		Example: lintExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.complete(); err != nil {
				return usage(err)
			}
			if c.list {
				return c.printChecks()
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&c.output, "output", "o", "", "json (one finding a line) or sarif; lines for people if left out")
	fs.StringVar(&c.failOn, "fail-on", "error", "exit with 1 if a finding is as severe: note, warning, error or never")
	fs.BoolVar(&c.list, "list", false, "print every check and do nothing")
	return cmd
}

// usage marks an error that came before any answer.
func usage(err error) error { return coded{err, 2} }

// coded is an error with an exit code of its own.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

func (c *lintCommand) complete() (err error) {
	switch c.output {
	case "", "json", "sarif":
	default:
		return fmt.Errorf("output format %q: use json or sarif, or leave -o out", c.output)
	}
	c.worst = lint.Error + 1
	if c.failOn != "never" {
		if c.worst, err = lint.ParseSeverity(c.failOn); err != nil {
			return fmt.Errorf("--fail-on: %w, or never", err)
		}
	}
	return nil
}

func (c *lintCommand) run(ctx context.Context) error {
	m := c.meter()
	defer m.done()
	endAtOnce(ctx, m)
	given, err := c.gather(ctx, &c.flags, m)
	if err != nil {
		return usage(err)
	}
	faults, rest := lint.InvalidOf(given.faults)
	if rest != nil {
		return usage(rest)
	}
	about := map[*policy.Policy]bool{}
	for _, p := range given.about() {
		about[p] = true
	}
	m.now("looking at %s and %s", count.Of(len(given.files)+len(given.current), "policy"), count.Of(len(given.world.Pods), "pod"))
	findings := lint.Run(lint.Input{
		World: given.world, Policies: given.candidate(), About: func(p *policy.Policy) bool { return about[p] },
		Invalid: faults, Unjudged: given.unjudged, Guessed: given.offline,
	})
	m.done()
	c.tell(given.notes)
	if err := c.print(findings, len(about)+invalid(faults)); err != nil {
		return usage(err)
	}
	if lint.Worst(findings) >= c.worst {
		return exitCode(1)
	}
	return nil
}

// invalid is how many policies have faults.
func invalid(faults []lint.Invalid) int {
	type id struct {
		file, name string
		kind       flow.RuleKind
	}
	of := map[id]bool{}
	for _, f := range faults {
		of[id{f.File, f.Policy, f.Kind}] = true
	}
	return len(of)
}

func (c *lintCommand) print(findings []lint.Finding, policies int) error {
	switch c.output {
	case "sarif":
		return lint.WriteSARIF(plain.ForJSON(c.Out), findings, version.String())
	case "json":
		out := lines.New(c.Out, lines.JSON)
		for i := range findings {
			if err := out.Object(&findings[i]); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range findings {
		if err := printFinding(c.Out, &findings[i]); err != nil {
			return err
		}
	}
	of := map[lint.Severity]int{}
	for i := range findings {
		of[findings[i].Severity]++
	}
	_, err := fmt.Fprintf(c.Out, "%s: %s, %s, %s\n", count.Of(policies, "policy"),
		count.Of(of[lint.Error], "error"), count.Of(of[lint.Warning], "warning"), count.Of(of[lint.Note], "note"))
	return err
}

// printFinding writes "where: severity id: reason" as compilers do, so that
// editors find the line, and the fix below.
func printFinding(w io.Writer, f *lint.Finding) error {
	where, who := f.Where(), ""
	if f.File != "" {
		who = fmt.Sprintf(" %s %s", f.Kind, f.Policy)
	}
	if f.Field != "" {
		who += " " + f.Field
	}
	fix := printable(f.Fix)
	for _, line := range strings.Split(strings.TrimRight(printable(f.Patch), "\n"), "\n") {
		if line != "" {
			fix += "\n         " + line
		}
	}
	_, err := fmt.Fprintf(w, "%s: %s %s:%s: %s\n    fix: %s\n", printable(where), f.Severity, f.ID, printable(who), printable(f.Reason), fix)
	return err
}

func (c *lintCommand) printChecks() error {
	tw := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	for _, check := range lint.Checks {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", check.ID, check.Severity, check.About)
	}
	return tw.Flush()
}
