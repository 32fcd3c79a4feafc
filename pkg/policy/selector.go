// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Selector is a label selector in one canonical form. The zero value selects
// nothing.
type Selector struct {
	requirements []labels.Requirement // sorted; all must match
	text         string               // canonical: equal texts select equally
	set          bool
}

// Everything selects every object.
func Everything() Selector { return Selector{set: true} }

// Equal selects the objects that have all of the given labels, which must be
// valid as those of an object are.
func Equal(l map[string]string) Selector {
	s, err := NewSelector(&metav1.LabelSelector{MatchLabels: l})
	if err != nil {
		return Selector{} // no object has labels that aren't valid
	}
	return s
}

// NewSelector converts a selector of the API. Nil selects nothing.
func NewSelector(s *metav1.LabelSelector) (Selector, error) {
	if s == nil {
		return Selector{}, nil
	}
	converted, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return Selector{}, err
	}
	requirements, selectable := converted.Requirements()
	if !selectable {
		return Selector{}, nil
	}
	out := Selector{requirements: slices.Clone(requirements), set: true}
	slices.SortStableFunc(out.requirements, func(a, b labels.Requirement) int { return strings.Compare(a.String(), b.String()) })
	var parts []string
	for _, r := range out.requirements {
		// labels.Requirement prints "k=v" and "k in (v)" differently; both mean the same.
		parts = append(parts, requirementText(r))
	}
	slices.Sort(parts)
	out.text = strings.Join(slices.Compact(parts), ",")
	return out, nil
}

// requirementText is one requirement in kubectl's spelling.
func requirementText(r labels.Requirement) string {
	values := r.ValuesUnsorted()
	slices.Sort(values)
	switch op := string(r.Operator()); op {
	case "exists":
		return r.Key()
	case "!":
		return "!" + r.Key()
	case "notin":
		if len(values) == 1 {
			return r.Key() + "!=" + values[0]
		}
		return fmt.Sprintf("%s notin (%s)", r.Key(), strings.Join(values, ","))
	default:
		if len(values) == 1 {
			return r.Key() + "=" + values[0]
		}
		return fmt.Sprintf("%s in (%s)", r.Key(), strings.Join(values, ","))
	}
}

// Matches says whether an object with these labels is selected.
func (s Selector) Matches(l map[string]string) bool {
	if !s.set {
		return false
	}
	for i := range s.requirements {
		if !s.requirements[i].Matches(labels.Set(l)) {
			return false
		}
	}
	return true
}

// Empty says whether every object is selected.
func (s Selector) Empty() bool { return s.set && len(s.requirements) == 0 }

// None says whether no object is selected, whatever its labels.
func (s Selector) None() bool { return !s.set }

// String is the selector as kubectl's -l takes it; "" selects everything.
// Equal strings select equally, apart from a selector that is None.
func (s Selector) String() string {
	if !s.set {
		return "<none>"
	}
	return s.text
}

// LabelMiss is one requirement that an object's labels don't fulfil.
type LabelMiss struct {
	Key   string   `json:"key"`
	Wants string   `json:"wants"`         // the requirement, such as "role=frontend" or "tier in (a,b)"
	Has   string   `json:"has,omitempty"` // the object's value
	Lacks bool     `json:"lacks,omitempty"`
	Want  []string `json:"-"` // values of = and in; the first is what a patch would set
}

// Misses lists the requirements that the labels don't fulfil.
func (s Selector) Misses(l map[string]string) []LabelMiss {
	var out []LabelMiss
	for i := range s.requirements {
		r := &s.requirements[i]
		if r.Matches(labels.Set(l)) {
			continue
		}
		has, there := l[r.Key()]
		m := LabelMiss{Key: r.Key(), Wants: requirementText(*r), Has: has, Lacks: !there}
		if op := string(r.Operator()); op == "in" || op == "=" || op == "==" {
			m.Want = r.ValuesUnsorted()
			slices.Sort(m.Want)
		}
		out = append(out, m)
	}
	return out
}
