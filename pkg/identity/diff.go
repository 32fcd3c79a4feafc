// SPDX-License-Identifier: Apache-2.0

package identity

import "reflect"

// PodDiff says which pods are others in one world than in another. A cluster
// has thousands of pods, of which a change is about one; several who each keep
// what they know of all of them share one walk by it.
type PodDiff struct {
	From map[string]*Pod // of the world before
	Keys []string        // of pods that came, went or changed; in no order
}

// DiffPods compares two worlds' pods. A pod that is the same object counts as
// unchanged, as [World] promises.
func DiffPods(from, to map[string]*Pod) *PodDiff {
	d := &PodDiff{From: from}
	if SameMap(from, to) {
		return d
	}
	kept := 0
	for key, p := range to {
		old := from[key]
		if old != nil {
			kept++
		}
		if old != p {
			d.Keys = append(d.Keys, key)
		}
	}
	if kept < len(from) {
		for key := range from {
			if to[key] == nil {
				d.Keys = append(d.Keys, key)
			}
		}
	}
	return d
}

// Since says whether the difference is one to the world that somebody knows
// these pods of. Nil is a difference to nothing that anybody knows.
func (d *PodDiff) Since(known map[string]*Pod) bool {
	return d != nil && known != nil && SameMap(d.From, known)
}

// SameMap says whether two maps are one, not only equal: maps of a World don't
// change once it is handed on.
func SameMap[T any](a, b map[string]T) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
