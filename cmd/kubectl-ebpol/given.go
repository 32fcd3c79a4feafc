// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lint"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

// givenFlags are those of commands that answer without traffic: from the API,
// from files, or from files in the world of the API.
type givenFlags struct {
	policyFlags
	offline bool
	all     bool
	cmd     *cobra.Command
}

func (f *givenFlags) add(cmd *cobra.Command) {
	f.policyFlags.add(cmd)
	f.cmd = cmd
	fs := cmd.Flags()
	fs.BoolVar(&f.offline, "offline", false, "ask no cluster: pods and namespaces are those of the files (so it is anyway if the files hold pods or workloads)")
	fs.BoolVarP(&f.all, "all-namespaces", "A", false, "all namespaces")
}

// given is what such a command is asked about.
type given struct {
	world     *identity.World
	current   []*policy.Policy // of the cluster; none offline
	files     []*policy.Policy // of the files
	faults    error            // policies of the files that could not be read
	unjudged  []policy.NotEvaluated
	offline   bool
	namespace string   // that the command is about; empty: all
	notes     []string // what the answer rests on, for people
}

// about are the policies that the command is about: those of the files if
// there are any, else those of the cluster in the namespace.
func (g *given) about() []*policy.Policy {
	if len(g.files) > 0 || g.faults != nil {
		return g.files
	}
	return slices.DeleteFunc(slices.Clone(g.current), func(p *policy.Policy) bool {
		return g.namespace != "" && p.Namespace != "" && p.Namespace != g.namespace
	})
}

// candidate is the set of policies with those of the files: one of a file
// stands in the place of the cluster's of the same name.
func (g *given) candidate() []*policy.Policy {
	out := slices.Clone(g.files)
	replaced := map[session.PolicyKey]bool{}
	for _, p := range g.files {
		replaced[session.KeyOf(p)] = true
	}
	for _, c := range g.current {
		if !replaced[session.KeyOf(c)] {
			out = append(out, c)
		}
	}
	return out
}

// gather reads the files and, unless they are all there is, the cluster.
func (g *globals) gather(ctx context.Context, f *givenFlags, m *meter) (*given, error) {
	out := &given{}
	namespace, _, err := g.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		namespace = "default" // no kubeconfig, or none that can be read: files may be all that is needed
	}
	if !f.all {
		out.namespace = namespace
	}
	if len(f.files) == 0 && f.kustomize == "" && f.offline {
		return nil, errors.New("--offline needs files: give some with -f or -k")
	}
	objects := &policy.Objects{Namespace: namespace}
	var local *kube.Offline
	if len(f.files) > 0 || f.kustomize != "" {
		if local, out.faults, err = kube.ReadObjects(ctx, f.options(g, m), objects); err != nil {
			return nil, err
		}
		if _, rest := lint.InvalidOf(out.faults); rest != nil {
			return nil, rest // not even policies that are refused can be told of then
		}
	}
	out.files, out.unjudged = objects.Policies, objects.NotEvaluated
	if local != nil {
		out.offline = f.offline || len(local.World.Pods) > 0 && !f.cmd.Flags().Changed("offline")
	}
	if !out.offline {
		err := g.ask(ctx, out)
		switch {
		case err == nil:
		case local == nil || ctx.Err() != nil:
			return nil, err
		default: // files are there: they say enough for an answer
			out.offline = true
			out.notes = append(out.notes, fmt.Sprintf("no cluster can be asked (%s): the answer rests on the files alone", oneLine(err)))
		}
	}
	if out.offline {
		out.world = &identity.World{}
		if local != nil {
			out.world = local.World
			out.notes = append(out.notes, local.Assumed...)
		}
		if n := g.config.Namespace; n == nil || *n == "" {
			out.namespace = "" // what the files hold is what is meant
		}
	}
	return out, nil
}

// ask takes one look at the cluster.
func (g *globals) ask(ctx context.Context, out *given) error {
	_, watcher, err := g.watchCluster(ctx)
	if err != nil {
		return err
	}
	defer watcher.Close()
	state := watcher.State()
	out.world, out.current = state.World, state.Policies
	for _, n := range state.NotEvaluated {
		out.unjudged = append(out.unjudged, policy.NotEvaluated{Kind: n.Kind, Namespace: n.Namespace, Name: n.Name})
	}
	out.notes = append(out.notes, state.Problems...)
	if len(out.world.Scope) > 0 {
		out.notes = append(out.notes, scopeNote(out.world.Scope))
	}
	return nil
}

// scopeNote says what follows from rights in these namespaces only.
func scopeNote(scope []string) string {
	return fmt.Sprintf("your rights end at namespace %q: what lies outside is not known, and what depends on it is contested", scope[0])
}

// tell writes what an answer rests on beside it.
func (g *globals) tell(notes []string) {
	for i, n := range notes {
		if i == 10 {
			fmt.Fprintf(g.ErrOut, "note: and %d more of that kind\n", len(notes)-i)
			return
		}
		fmt.Fprintf(g.ErrOut, "note: %s\n", oneLine(errors.New(n)))
	}
}

// exitCode ends the program with a code, after everything was printed.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// unread says why the file that a flag names can't be read.
func unread(flag, file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: file %q doesn't exist", flag, file)
	}
	return fmt.Errorf("%s: %w", flag, err)
}
