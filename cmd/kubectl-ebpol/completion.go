// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// completeShim is the file that kubectl (1.26 and later) runs to complete a
// plugin's arguments; it must lie on PATH under the name kubectl_complete-ebpol.
const completeShim = `#!/bin/sh
exec kubectl ebpol __complete "$@"
`

const completionLong = `Prints a completion script for the plugin's own name (kubectl-ebpol), or with
--kubectl the small script that lets "kubectl ebpol <TAB>" complete: save it as
kubectl_complete-ebpol in a directory of PATH and make it executable.`

func newCompletion(g *globals) *cobra.Command {
	var shim bool
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash":       func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"zsh":        func(c *cobra.Command, w io.Writer) error { return c.GenZshCompletion(w) },
		"fish":       func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
		"powershell": func(c *cobra.Command, w io.Writer) error { return c.GenPowerShellCompletionWithDesc(w) },
	}
	cmd := &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		GroupID:   "other",
		Short:     "Print a shell completion script",
		Long:      completionLong,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if shim {
				if len(args) > 0 {
					return fmt.Errorf("--kubectl takes no shell: the script is the same for each")
				}
				_, err := io.WriteString(g.Out, completeShim)
				return err
			}
			if len(args) == 0 {
				return fmt.Errorf("no shell given: use bash, zsh, fish, powershell or --kubectl")
			}
			generate, ok := shells[args[0]]
			if !ok {
				return fmt.Errorf("shell %q: use bash, zsh, fish or powershell", args[0])
			}
			return generate(cmd.Root(), g.Out)
		},
	}
	cmd.Flags().BoolVar(&shim, "kubectl", false, "print kubectl_complete-ebpol instead")
	return cmd
}
