// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/kube"
)

// completionPatience is how long a shell that completes a word may be kept
// waiting for the cluster.
const completionPatience = 3 * time.Second

type completer = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective)

// completeNames lets shells complete names that the cluster or the kubeconfig
// knows. A cluster that doesn't answer completes nothing, and says nothing: a
// prompt is no place for an error.
func (g *globals) completeNames(root *cobra.Command) {
	flag := func(cmd *cobra.Command, name string, f completer) {
		// The error means that the command has no such flag.
		_ = cmd.RegisterFlagCompletionFunc(name, f)
	}
	flag(root, "namespace", g.names("namespace"))
	for name, part := range map[string]func(*contexts) []string{
		"context": func(c *contexts) []string { return c.contexts }, "cluster": func(c *contexts) []string { return c.clusters }, "user": func(c *contexts) []string { return c.users },
	} {
		flag(root, name, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return startingWith(part(g.contexts()), prefix), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, cmd := range root.Commands() {
		flag(cmd, "node", g.names("node"))
		flag(cmd, "without", g.names("networkpolicy"))
		flag(cmd, "probe-namespace", g.names("namespace"))
		flag(cmd, "output", fixed("wide", "json"))
		flag(cmd, "page", fixed(pageNames...))
		switch cmd.Name() {
		case "trace":
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
				return g.targets(cmd, args, prefix, 1)
			}
		case "explain", "catch":
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
				return g.targets(cmd, args, prefix, 2)
			}
		}
	}
}

// contexts is what the kubeconfig names.
type contexts struct{ contexts, clusters, users []string }

func (g *globals) contexts() *contexts {
	config, err := g.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return &contexts{}
	}
	return &contexts{
		slices.Sorted(maps.Keys(config.Contexts)), slices.Sorted(maps.Keys(config.Clusters)), slices.Sorted(maps.Keys(config.AuthInfos)),
	}
}

func fixed(words ...string) completer {
	return func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return startingWith(words, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

func startingWith(words []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, prefix) })
}

// names completes with the names of all objects of a kind.
func (g *globals) names(kind string) completer {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return g.list(cmd, kind, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

func (g *globals) list(cmd *cobra.Command, kind, prefix string) []string {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	config, err := g.config.ToRESTConfig()
	if err != nil {
		return nil
	}
	client, err := kube.Connect(config)
	if err != nil {
		return nil
	}
	namespace, _, err := g.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil
	}
	names, err := client.Names(ctx, kind, namespace, prefix)
	if err != nil {
		return nil
	}
	return names
}

// targets completes up to most words of the forms KIND NAME (one target
// only), KIND/NAME and NAME.
func (g *globals) targets(cmd *cobra.Command, args []string, prefix string, most int) ([]string, cobra.ShellCompDirective) {
	if most == 1 && len(args) == 1 {
		if kind, _, err := kube.ParseTarget([]string{args[0], "name"}); err == nil && !strings.Contains(args[0], "/") {
			return g.list(cmd, kind, prefix), cobra.ShellCompDirectiveNoFileComp
		}
	}
	if len(args) >= most {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if word, name, ok := strings.Cut(prefix, "/"); ok {
		kind, _, err := kube.ParseTarget([]string{word, "name"})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found := g.list(cmd, kind, name)
		for i := range found {
			found[i] = word + "/" + found[i]
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
	found := g.list(cmd, "pod", prefix)
	for _, kind := range kube.TargetKinds() {
		if strings.HasPrefix(kind, prefix) {
			found = append(found, kind+"/")
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
