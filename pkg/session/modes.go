// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// choice is one policy's versions and mode.
type choice struct {
	key          PolicyKey
	cluster, own *policy.Policy // one of them may be nil
	mode         Mode
}

// joined is the cluster's policies with the candidates, in order of key. It is
// made again only if one of them changed: a toggle, or a pod, changes none.
type joined struct {
	cluster, own []*policy.Policy
	list         []choice // with the mode of those that nobody chose one for
	at           map[PolicyKey]int
}

// choices gives every policy its mode. Those of the cluster that modes doesn't
// name have the one given.
func (j *joined) choices(cluster, own []*policy.Policy, modes map[PolicyKey]Mode, unchosen Mode) []choice {
	if j.at == nil || !slices.Equal(j.cluster, cluster) || !slices.Equal(j.own, own) {
		j.join(cluster, own, unchosen)
	}
	out := slices.Clone(j.list)
	for k, m := range modes {
		if i, ok := j.at[k]; ok {
			out[i].mode = m
		}
	}
	return out
}

func (j *joined) join(cluster, own []*policy.Policy, unchosen Mode) {
	byKey := make(map[PolicyKey]*choice, len(cluster)+len(own))
	at := func(p *policy.Policy) *choice {
		k := KeyOf(p)
		if byKey[k] == nil {
			byKey[k] = &choice{key: k, mode: DryRun}
		}
		return byKey[k]
	}
	for _, p := range cluster {
		c := at(p)
		c.cluster, c.mode = p, unchosen
	}
	for _, p := range own {
		at(p).own = p
	}
	*j = joined{cluster: slices.Clone(cluster), own: slices.Clone(own), list: make([]choice, 0, len(byKey)), at: make(map[PolicyKey]int, len(byKey))}
	for _, k := range slices.SortedFunc(maps.Keys(byKey), compareKeys) {
		j.at[k] = len(j.list)
		j.list = append(j.list, *byKey[k])
	}
}

func compareKeys(a, b PolicyKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// candidate is the version that the mode is about.
func (c *choice) candidate() *policy.Policy {
	if c.own != nil {
		return c.own
	}
	return c.cluster
}

// versions are the policy's entries for the compiler.
func (c *choice) versions() []PolicyMode {
	on := c.mode != Off
	enforced := c.mode == Enforced
	switch {
	case c.own == nil:
		return []PolicyMode{{Policy: c.cluster, Current: true, Candidate: on, Enforced: enforced}}
	case c.cluster == nil && !on:
		return nil
	case c.cluster == nil:
		return []PolicyMode{{Policy: c.own, Candidate: true, Enforced: enforced}}
	case !on:
		return []PolicyMode{{Policy: c.cluster, Current: true, Candidate: true}}
	}
	return []PolicyMode{{Policy: c.cluster, Current: true}, {Policy: c.own, Candidate: true, Enforced: enforced}}
}

// differs says whether the candidate set is another one than the current.
func (c *choice) differs() bool {
	if c.own != nil {
		return c.mode != Off
	}
	return c.mode == Off
}
