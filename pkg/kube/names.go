// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// targetResources are the resources of the kinds that [ParseTarget] answers.
var targetResources = map[string]schema.GroupVersionResource{
	"pod":           {Version: "v1", Resource: "pods"},
	"deploy":        {Group: "apps", Version: "v1", Resource: "deployments"},
	"sts":           {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"ds":            {Group: "apps", Version: "v1", Resource: "daemonsets"},
	"rs":            {Group: "apps", Version: "v1", Resource: "replicasets"},
	"job":           {Group: "batch", Version: "v1", Resource: "jobs"},
	"cronjob":       {Group: "batch", Version: "v1", Resource: "cronjobs"},
	"rc":            {Version: "v1", Resource: "replicationcontrollers"},
	"svc":           {Version: "v1", Resource: "services"},
	"node":          {Version: "v1", Resource: "nodes"},
	"namespace":     {Version: "v1", Resource: "namespaces"},
	"networkpolicy": {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
}

// TargetKinds are the kinds that a command can be about, in the spelling that
// people type most, sorted.
func TargetKinds() []string {
	return []string{"cronjob", "deploy", "ds", "job", "node", "pod", "rc", "rs", "sts", "svc"}
}

// mostNames is how many names a shell can be given to choose from.
const mostNames = 500

// Names lists up to 500 objects of a kind (as [ParseTarget] or "namespace",
// "networkpolicy" spell it) whose name begins with prefix, sorted. An empty
// namespace means all; node and namespace have none.
func (c *Client) Names(ctx context.Context, kind, namespace, prefix string) ([]string, error) {
	resource, ok := targetResources[kind]
	if !ok {
		return nil, fmt.Errorf("kind %q can't be listed: use %s", kind, strings.Join(TargetKinds(), ", "))
	}
	if kind == "node" || kind == "namespace" {
		namespace = ""
	}
	list, err := c.Metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: mostNames})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", resource.Resource, err)
	}
	var names []string
	for _, o := range list.Items {
		if strings.HasPrefix(o.Name, prefix) {
			names = append(names, o.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
