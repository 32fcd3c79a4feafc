// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// TestCommentsAboveBelongToTheObject: whoever opens a policy in an editor finds
// what was written above it.
func TestCommentsAboveBelongToTheObject(t *testing.T) {
	const object = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: shop}\nspec:\n  podSelector: {}\n"
	for _, c := range []struct {
		text, want string
		line       int
	}{
		{"\n# web asks the database\n\n# since June\n" + object, "# web asks the database\n\n# since June\n" + object, 5},
		{"# of the file\n---\n# web asks\n" + object, "# web asks\n" + object, 4},
		{"# " + strings.Repeat("x", 100<<10) + "\n" + object, object, 2},
	} {
		o, err := policy.Parse([]byte(c.text), "f.yaml")
		if err != nil || len(o.Policies) != 1 {
			t.Fatalf("%d policies, %v", len(o.Policies), err)
		}
		if s := o.Policies[0].Source; s.YAML != c.want || s.Line != c.line {
			t.Errorf("line %d, want %d: %q", s.Line, c.line, s.YAML)
		}
		_, err = policy.Parse([]byte(c.text+"  policyTypes: [Foo]\n"), "f.yaml")
		if want := fmt.Sprintf("f.yaml:%d: ", strings.Count(c.text, "\n")+1); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want it at %q", err, want)
		}
	}
}
