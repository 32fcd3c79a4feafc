// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"

	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
)

// missing is the error for a name that doesn't exist, with the nearest that
// do, or the namespace elsewhere ("": none) that has just that name.
func missing(what, name, in string, names []string, elsewhere string) error {
	near := Nearest(name, names, 3)
	switch {
	case elsewhere != "":
		return fmt.Errorf("%s %q not found%s; there is one in namespace %q: add -n %[4]s", what, name, in, elsewhere)
	case len(near) == 1:
		return fmt.Errorf("%s %q not found%s; did you mean %q?", what, name, in, near[0])
	case len(near) > 1:
		return fmt.Errorf("%s %q not found%s; did you mean one of %q?", what, name, in, near)
	case len(names) == 0:
		return fmt.Errorf("%s %q not found%s; there is none", what, name, in)
	}
	return fmt.Errorf("%s %q not found%s", what, name, in)
}

// Nearest are the at most n names that look most like name.
func Nearest(name string, names []string, n int) []string { return nearest.Of(name, names, n) }
