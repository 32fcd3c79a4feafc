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
// made again only if the candidates changed, or many of the cluster's: a
// toggle, or a pod, changes none.
type joined struct {
	cluster, own []*policy.Policy
	list         []choice // with the mode of those that nobody chose one for; not changed once made
}

// choices gives every policy its mode. Those of the cluster that modes doesn't
// name have the one given. The result must not be changed.
func (j *joined) choices(cluster, own []*policy.Policy, modes map[PolicyKey]Mode, unchosen Mode) []choice {
	if j.list == nil || !slices.Equal(j.own, own) || !j.follow(cluster, unchosen) {
		j.join(cluster, own, unchosen)
	}
	if len(modes) == 0 {
		return j.list
	}
	out := slices.Clone(j.list)
	for k, m := range modes {
		if i, ok := find(out, k); ok {
			out[i].mode = m
		}
	}
	return out
}

func find(list []choice, k PolicyKey) (int, bool) {
	return slices.BinarySearchFunc(list, k, func(c choice, k PolicyKey) int { return compareKeys(c.key, k) })
}

// follow brings the list from one state of the cluster's policies to another;
// false: too much changed.
func (j *joined) follow(cluster []*policy.Policy, unchosen Mode) bool {
	const most = 100
	gone, come := j.cluster, cluster
	for len(gone) > 0 && len(come) > 0 && gone[0] == come[0] {
		gone, come = gone[1:], come[1:]
	}
	for len(gone) > 0 && len(come) > 0 && gone[len(gone)-1] == come[len(come)-1] {
		gone, come = gone[:len(gone)-1], come[:len(come)-1]
	}
	switch {
	case len(gone)+len(come) == 0:
		return true
	case len(gone)+len(come) > most:
		return false
	}
	list := slices.Clone(j.list)
	for _, p := range gone {
		i, known := find(list, KeyOf(p))
		switch {
		case !known || list[i].cluster != p:
			return false // the cluster has two of that key
		case list[i].own == nil:
			list = slices.Delete(list, i, i+1)
		default:
			list[i].cluster, list[i].mode = nil, DryRun
		}
	}
	for _, p := range come {
		i, known := find(list, KeyOf(p))
		if !known {
			list = slices.Insert(list, i, choice{key: KeyOf(p)})
		} else if list[i].cluster != nil {
			return false
		}
		list[i].cluster, list[i].mode = p, unchosen
	}
	j.cluster, j.list = slices.Clone(cluster), list
	return true
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
	*j = joined{cluster: slices.Clone(cluster), own: slices.Clone(own), list: make([]choice, 0, len(byKey))}
	for _, k := range slices.SortedFunc(maps.Keys(byKey), compareKeys) {
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

// versions adds the policy's entries for the compiler.
func (c *choice) versions(out []PolicyMode) []PolicyMode {
	on := c.mode != Off
	enforced := c.mode == Enforced
	switch {
	case c.own == nil:
		return append(out, PolicyMode{Policy: c.cluster, Current: true, Candidate: on, Enforced: enforced})
	case c.cluster == nil && !on:
		return out
	case c.cluster == nil:
		return append(out, PolicyMode{Policy: c.own, Candidate: true, Enforced: enforced})
	case !on:
		return append(out, PolicyMode{Policy: c.cluster, Current: true, Candidate: true})
	}
	return append(out, PolicyMode{Policy: c.cluster, Current: true}, PolicyMode{Policy: c.own, Candidate: true, Enforced: enforced})
}

// differs says whether the candidate set is another one than the current.
func (c *choice) differs() bool {
	if c.own != nil {
		return c.mode != Off
	}
	return c.mode == Off
}
