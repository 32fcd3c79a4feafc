// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"errors"
	"regexp"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// InvalidOf picks the faults of policies out of what policy.Parse answered.
// rest is what is none: text that is no YAML, and the like.
func InvalidOf(err error) (faults []Invalid, rest error) {
	var others []error
	var walk func(error)
	walk = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok { // the tree is walked by hand
			for _, e := range many.Unwrap() {
				walk(e)
			}
			return
		}
		var f *policy.Fault
		switch {
		case err == nil:
		case errors.As(err, &f):
			faults = append(faults, Invalid{f.Kind, f.Policy, f.File, f.Line, f.Field, f.Text})
		default:
			others = append(others, err)
		}
	}
	walk(err)
	return faults, errors.Join(others...)
}

// fixInvalid knows what to do about the faults that are made most.
func fixInvalid(reason string) string {
	switch {
	case strings.Contains(reason, "endPort") && strings.Contains(reason, "not specified"):
		return "write port, the first of the range, beside endPort"
	case strings.Contains(reason, "endPort") && strings.Contains(reason, "non-numeric"):
		return "give port as a number, or leave endPort out"
	case strings.Contains(reason, "except"):
		return "except must lie inside cidr, and be of the same family"
	case strings.Contains(reason, "cannot unmarshal"):
		return fixType(reason)
	case strings.Contains(reason, "no matches for kind"):
		return "write apiVersion: networking.k8s.io/v1"
	case strings.Contains(reason, "beyond the prefix length"):
		return "write the first address of the block, such as 10.0.0.0/8 for 10.0.0.1/8"
	case strings.Contains(reason, "unknown field"):
		return "correct the field's name or its indentation: the API server drops what it doesn't know, and the policy then means something else"
	}
	return "correct the field"
}

var wrongType = regexp.MustCompile(`cannot unmarshal (\w+).* of type (\S+)`)

// fixType says what the server's words for a wrong type leave to guess.
func fixType(reason string) string {
	m := wrongType.FindStringSubmatch(reason)
	switch {
	case m == nil:
		return "correct the field's type"
	case strings.HasPrefix(m[2], "[]"):
		return "make it a list: put a dash before each entry, or square brackets around them"
	case m[1] == "array":
		return "take the dash away: there is one, no list"
	case strings.HasPrefix(m[2], "int"):
		return "write a whole number, without quotes"
	case m[2] == "string" || m[1] == "number" || m[1] == "bool":
		return "put the value into quotes"
	}
	return "write an object here, with fields of its own"
}
