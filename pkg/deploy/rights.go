// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"strings"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"
)

// Right is one thing that one may do, as RBAC says it.
type Right struct {
	Verb      string
	Group     string // "" is core
	Resource  string // "pods", "pods/exec"
	Namespace string // "" is the whole cluster
}

func (r Right) String() string { return r.Verb + " " + r.Resource }

// rights of a session in namespace: those it can't do without, and those that
// it does less well without.
func rights(namespace string) (need, want []Right) {
	for _, verb := range []string{"create", "get", "list", "watch", "delete"} {
		need = append(need, Right{Verb: verb, Resource: "pods", Namespace: namespace})
	}
	need = append(need, Right{Verb: "create", Resource: "pods/exec", Namespace: namespace})
	want = []Right{
		{Verb: "create", Group: "batch", Resource: "jobs", Namespace: namespace},
		{Verb: "delete", Group: "batch", Resource: "jobs", Namespace: namespace},
		{Verb: "get", Resource: "nodes"},
	}
	return need, want
}

// RightsError says what a user may not do that a probe needs.
type RightsError struct {
	User      string // "" if the API server doesn't tell
	Namespace string
	Missing   []Right
}

func (e *RightsError) Error() string {
	who := "you"
	if e.User != "" {
		who = fmt.Sprintf("user %q", e.User)
	}
	var what []string
	for _, r := range e.Missing {
		what = append(what, r.String())
	}
	return fmt.Sprintf("%s may not %s in namespace %q, which a probe needs; someone who may grant it can apply:\n\n%s",
		who, strings.Join(what, ", "), e.Namespace, Role(e.Namespace, e.User))
}

// Role is the YAML that grants user what a session needs, no more. An empty
// user leaves a word to fill in.
func Role(namespace, user string) string {
	if user == "" {
		user = "USER"
	}
	return fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: ebpol-probe, namespace: %[1]s}
rules:
- {apiGroups: [""], resources: [pods], verbs: [create, get, list, watch, delete]}
- {apiGroups: [""], resources: [pods/exec], verbs: [create, get]}
- {apiGroups: [""], resources: [events], verbs: [list]}
- {apiGroups: [batch], resources: [jobs], verbs: [create, delete, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ebpol-probe, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ebpol-probe}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[2]q}]
`, namespace, user)
}

// whoAmI is the user that the API server takes us for; "" before Kubernetes
// 1.28, which can't say.
func (d *Deployer) whoAmI(ctx context.Context) string {
	r, err := d.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authn.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return r.Status.UserInfo.Username
}

// allowed asks for all rights at once; answers are in their order.
func (d *Deployer) allowed(ctx context.Context, rights []Right) ([]bool, error) {
	ok := make([]bool, len(rights))
	g, ctx := errgroup.WithContext(ctx)
	for i, r := range rights {
		g.Go(func() error {
			resource, sub, _ := strings.Cut(r.Resource, "/")
			review := &authz.SelfSubjectAccessReview{Spec: authz.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authz.ResourceAttributes{Namespace: r.Namespace, Verb: r.Verb, Group: r.Group, Resource: resource, Subresource: sub},
			}}
			got, err := d.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("ask whether we may %s: %w", r, err)
			}
			ok[i] = got.Status.Allowed
			return nil
		})
	}
	return ok, g.Wait()
}
