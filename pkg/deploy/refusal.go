// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// RefusedError is the cluster's refusal to take the probe's pod, explained.
type RefusedError struct {
	By    string // "Pod Security", "security context constraints", …
	Why   string // what it objects to, in its own words
	Do    string // what the user can do
	Cause error
}

func (e *RefusedError) Error() string {
	s := e.By + " refuses the probe's pod: " + e.Why
	if e.Do != "" {
		s += "; " + e.Do
	}
	return s
}

func (e *RefusedError) Unwrap() error { return e.Cause }

var (
	podSecurity = regexp.MustCompile(`violates PodSecurity "([a-z]+):[^"]*": (.*)`)
	webhook     = regexp.MustCompile(`admission webhook "([^"]+)" denied the request:? ?(.*)`)
	noDryRun    = regexp.MustCompile(`admission webhook .* does not support dry run`)
)

// explain turns a refusal to create the pod into words that help. Other errors
// come back with the object's name only.
func (d *Deployer) explain(err error) error {
	if err == nil {
		return nil
	}
	ns, text := d.o.Namespace, err.Error()
	if m := podSecurity.FindStringSubmatch(text); m != nil {
		return &RefusedError{
			By: fmt.Sprintf("Pod Security %q of namespace %q", m[1], ns), Why: m[2], Cause: err,
			Do: fmt.Sprintf("choose a namespace that allows it with --probe-namespace (%s often does), or: kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite", DefaultNamespace, ns),
		}
	}
	if strings.Contains(text, "security context constraint") {
		return &RefusedError{
			By: "OpenShift's security context constraints", Why: oneLine(text), Cause: err,
			Do: fmt.Sprintf("let the namespace's default account use one that allows it: oc adm policy add-scc-to-user privileged -z default -n %s", ns),
		}
	}
	if m := webhook.FindStringSubmatch(text); m != nil {
		do := "ask for an exception for pods labelled " + Selector
		if strings.Contains(m[1], "gke") || strings.Contains(m[2], "autogke") {
			do = "Autopilot nodes take no such pod; use a Standard node pool, or the commands that need no probe"
		}
		return &RefusedError{By: fmt.Sprintf("admission webhook %q", m[1]), Why: m[2], Do: do, Cause: err}
	}
	if apierrors.IsNotFound(err) && strings.Contains(text, "namespaces") {
		return fmt.Errorf("namespace %q for the probe doesn't exist; create it, or name another with --probe-namespace: %w", ns, err)
	}
	if apierrors.IsForbidden(err) && !strings.Contains(text, "cannot create resource") {
		return &RefusedError{By: "the cluster's admission control", Why: oneLine(text), Do: "choose another namespace with --probe-namespace", Cause: err}
	}
	return fmt.Errorf("create the probe's pod in namespace %q: %w", ns, err)
}

// oneLine makes one printable line of text from the cluster, at most 500 bytes.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}
