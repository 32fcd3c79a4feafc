// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

// policyFlags name the policies that a command is about.
type policyFlags struct {
	files     []string
	recursive bool
	kustomize string
	without   []string
}

func (f *policyFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVarP(&f.files, "filename", "f", nil, "file, folder, URL or - with policies")
	fs.BoolVarP(&f.recursive, "recursive", "R", false, "also the folders of a folder")
	fs.StringVarP(&f.kustomize, "kustomize", "k", "", "kustomization with policies")
}

// options are what the flags name; m is told how far reading is.
func (f *policyFlags) options(g *globals, m *meter) kube.FileOptions {
	return kube.FileOptions{Names: f.files, Recursive: f.recursive, Kustomize: f.kustomize, In: g.In, Tell: m.reading}
}

// read reads the files' policies. Those without a namespace get the given one.
func (f *policyFlags) read(ctx context.Context, g *globals, namespace string) ([]*policy.Policy, error) {
	files, err := kube.ReadFiles(ctx, kube.FileOptions{Names: f.files, Recursive: f.recursive, Kustomize: f.kustomize, In: g.In})
	if err != nil {
		return nil, err
	}
	var out []*policy.Policy
	seen := map[session.PolicyKey]string{}
	for _, file := range files {
		list, err := parsePolicies(file, namespace)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			k := session.KeyOf(p)
			if where, twice := seen[k]; twice {
				return nil, fmt.Errorf("%s %q stands in %q and again in %q: which one shall it be?", p.Kind, p.Key(), where, file.Name)
			}
			seen[k] = file.Name
			out = append(out, p)
		}
	}
	if len(files) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("no policy in %q", files[0].Name)
	}
	return out, nil
}

// checkNamespaces refuses what kubectl would not apply: a policy whose file says
// one namespace while -n says another.
func (g *globals) checkNamespaces(list []*policy.Policy) error {
	given := g.config.Namespace
	if given == nil || *given == "" {
		return nil
	}
	for _, p := range list {
		if p.Namespace != "" && p.Namespace != *given {
			return fmt.Errorf("%s %q is of namespace %q and -n says %q, where kubectl would not apply it: leave -n out, or change the file", p.Kind, p.Name, p.Namespace, *given)
		}
	}
	return nil
}

// leaveOut turns --without into modes: those policies of the cluster are not
// part of the candidate set.
func (f *policyFlags) leaveOut(state *kube.State, list []*policy.Policy, namespace string) (map[session.PolicyKey]session.Mode, error) {
	modes := map[session.PolicyKey]session.Mode{}
	for _, name := range f.without {
		var found []session.PolicyKey
		var names []string
		kind, rest := flow.RuleKind(""), name
		if k, n, ok := cutKind(name); ok {
			kind, rest = k, n
		}
		for _, p := range state.Policies {
			if p.Namespace == namespace {
				names = append(names, p.Name)
			} else {
				names = append(names, p.Key())
			}
			fits := p.Key() == rest || p.Namespace == namespace && p.Name == rest
			if fits && (kind == "" || p.Kind == kind) {
				found = append(found, session.KeyOf(p))
			}
		}
		switch {
		case len(found) == 0:
			hint := didYouMean(rest, names)
			if hint == "" {
				hint = "; see kubectl get networkpolicies -A"
			}
			return nil, fmt.Errorf("the cluster has no policy %q%s", name, hint)
		case len(found) > 1:
			return nil, fmt.Errorf("%q names policies of several kinds: say which, such as netpol/%s or cnp/%s", name, rest, rest)
		}
		if slices.ContainsFunc(list, func(p *policy.Policy) bool { return session.KeyOf(p) == found[0] }) {
			return nil, fmt.Errorf("policy %q is given and left out: which shall it be?", name)
		}
		modes[found[0]] = session.Off
	}
	return modes, nil
}

// didYouMean is the end of a sentence about a name that isn't there.
func didYouMean(name string, names []string) string {
	near := nearest.Of(name, names, 3)
	if len(near) == 0 {
		return ""
	}
	for i, n := range near {
		near[i] = strconv.Quote(n)
	}
	return fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
}

// cutKind reads "netpol/x" and the like.
func cutKind(s string) (flow.RuleKind, string, bool) {
	kind, name, ok := strings.Cut(s, "/")
	if !ok {
		return "", "", false
	}
	switch strings.ToLower(kind) {
	case "netpol", "networkpolicy", "networkpolicies":
		return flow.NetworkPolicy, name, true
	case "cnp", "clusternetworkpolicy", "clusternetworkpolicies":
		return flow.ClusterNetworkPolicy, name, true
	case "anp", "adminnetworkpolicy", "adminnetworkpolicies":
		return flow.AdminNetworkPolicy, name, true
	case "banp", "baselineadminnetworkpolicy", "baselineadminnetworkpolicies":
		return flow.BaselineAdminNetwork, name, true
	}
	return "", "", false
}

// affected are the pods whose verdicts the policies may change: those that a
// candidate selects, and those that a policy selects that is left out or
// replaced. It is asked again for each state of the cluster.
func affected(w *kube.Watcher, candidates []*policy.Policy, modes map[session.PolicyKey]session.Mode) func(*identity.Pod) bool {
	var known *kube.State
	var view *policy.View
	var list []*policy.Policy
	return func(p *identity.Pod) bool {
		if s := w.State(); s != known {
			known, view = s, policy.NewView(s.World)
			list = slices.Clone(candidates)
			for _, c := range s.Policies {
				k := session.KeyOf(c)
				_, changed := modes[k]
				if changed || slices.ContainsFunc(candidates, func(o *policy.Policy) bool { return session.KeyOf(o) == k }) {
					list = append(list, c)
				}
			}
		}
		if p.HostNetwork {
			return false
		}
		return slices.ContainsFunc(list, func(c *policy.Policy) bool { return view.Selects(&c.Subject, p) })
	}
}

var errNoPolicy = errors.New("no policy given: use -f FILE, -k FOLDER, or for a dry-run --without POLICY")
