// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/version"
)

// build is what `version` prints.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version.String(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Date = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	return b
}

func newVersion(g *globals) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		GroupID: "other",
		Short:   "Print the version of the plugin",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			switch output {
			case "":
				fmt.Fprintf(g.Out, "kubectl-ebpol %s %s %s\n", b.Version, b.Go, b.Platform)
				return nil
			case "json":
				return json.NewEncoder(g.Out).Encode(b)
			}
			return fmt.Errorf("output format %q: use json, or leave -o out", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for one line")
	return cmd
}
