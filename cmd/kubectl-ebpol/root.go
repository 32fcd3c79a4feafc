// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ebpol/kubectl-ebpol/pkg/plain"
)

// globals is what every subcommand is given: the streams to talk over and
// kubectl's own connection flags.
type globals struct {
	genericiooptions.IOStreams
	config *genericclioptions.ConfigFlags
	looks  looks
}

const rootLong = `Watches the traffic of the pods that you ask about with a short-lived probe on
their nodes, and lets the kernel judge it twice: by the policies that the
cluster has, and by those that you are thinking of. Any CNI; nothing is
installed beforehand, nothing is left behind.`

// newRoot builds the command tree. argv0 decides what the usage text calls us.
func newRoot(argv0 string, streams genericiooptions.IOStreams) *cobra.Command {
	g := &globals{IOStreams: streams, config: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag()}
	root := &cobra.Command{
		Use:           "kubectl-ebpol",
		Short:         "Live verdicts and drops of network policies, dry-run and leased enforcement",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: displayName(argv0)},
		Args:          known,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
	})
	root.CompletionOptions.DisableDefaultCmd = true // ours also writes kubectl's
	g.config.AddFlags(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "live", Title: "Live traffic:"},
		&cobra.Group{ID: "still", Title: "Answers without traffic:"},
		&cobra.Group{ID: "other", Title: "Other commands:"},
	)
	root.SetHelpCommandGroupID("other")
	for _, c := range subcommands {
		cmd := c(g)
		cmd.Args = counted(cmd.Args)
		root.AddCommand(cmd)
	}
	g.completeNames(root)
	return root
}

// known refuses what is no command, and names the ones that it may have meant.
func known(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q for %q: did you mean %s?", args[0], cmd.CommandPath(), strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q for %q: see %[2]s --help", args[0], cmd.CommandPath())
}

// counted says of a wrong number of arguments how the command is used.
func counted(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		err := check(cmd, args)
		switch {
		case err == nil:
			return nil
		case check(cmd, nil) == nil: // there are too many
			return fmt.Errorf("unexpected argument %q: use it as %s", args[len(args)-1], cmd.UseLine())
		}
		return fmt.Errorf("%w: use it as %s", err, cmd.UseLine())
	}
}

// subcommands is the list that newRoot adds, in the order of the help text.
var subcommands = []func(*globals) *cobra.Command{
	newTop,
	newTrace,
	newDryRun,
	newEnforce,
	newCatch,
	newReplay,
	newLint,
	newWeigh,
	newMatrix,
	newExplain,
	newSuggest,
	newCleanup,
	newDemo,
	newDemoPod,
	newVersion,
	newCompletion,
}

// displayName is "kubectl ebpol" if kubectl started us, as it does by a file
// name that starts with kubectl-.
func displayName(argv0 string) string {
	base := strings.TrimSuffix(filepath.Base(argv0), ".exe")
	if strings.HasPrefix(base, "kubectl-") {
		return "kubectl " + strings.TrimPrefix(base, "kubectl-")
	}
	return base
}

// oneLine folds an error into one line without control characters: parts of
// it may come from a file or a cluster.
func oneLine(err error) string {
	return strings.Join(strings.Fields(printable(err.Error())), " ")
}

// oneLineEach is the same for what may be several errors, which stay apart.
func oneLineEach(err error) string {
	var b strings.Builder
	for line := range strings.Lines(err.Error()) {
		line = oneLine(errors.New(line))
		if s := b.String(); s != "" && line != "" {
			if strings.ContainsAny(s[len(s)-1:], ":;,.") {
				b.WriteString(" ")
			} else {
				b.WriteString("; ")
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// printable takes out of a text what is harmful on a terminal.
func printable(s string) string { return plain.Text(s) }
