// SPDX-License-Identifier: Apache-2.0

package policy

// adminNetworkPolicySpec and baselineNetworkPolicySpec are the schemas of
// policy.networking.k8s.io/v1alpha1. They bound less than that of
// ClusterNetworkPolicy: a range may end before it starts, and any protocol may
// be named.
var (
	adminNetworkPolicySpec    = v1alpha1Spec(true)
	baselineNetworkPolicySpec = v1alpha1Spec(false)
)

func v1alpha1Spec(admin bool) *schema {
	text := &schema{kind: "string"}
	selector := selectorSchema()
	pods := &schema{kind: "object", required: []string{"namespaceSelector", "podSelector"}, fields: map[string]*schema{"namespaceSelector": selector, "podSelector": selector}}
	one := func(fields map[string]*schema) *schema {
		return &schema{kind: "object", least: 1, most: 1, fields: fields}
	}
	list := func(most int, items *schema) *schema {
		return &schema{kind: "array", least: 1, most: most, items: items}
	}
	number := &schema{kind: "integer", least: 1, most: 65535}
	ports := list(100, one(map[string]*schema{
		"namedPort":  text,
		"portNumber": {kind: "object", required: []string{"port"}, fields: map[string]*schema{"port": number, "protocol": text}},
		"portRange":  {kind: "object", required: []string{"end", "start"}, fields: map[string]*schema{"end": number, "start": number, "protocol": text}},
	}))
	ports.lenient = true // none are as if they were left out
	networks := list(25, &schema{kind: "string", most: 43, rule: isCIDR})
	networks.set = true
	to := map[string]*schema{"namespaces": selector, "pods": pods, "nodes": selector, "networks": networks}
	actions, bare, words := []string{"Allow", "Deny"}, []string{"networks", "nodes"}, "networks/nodes"
	if admin {
		domains := list(25, &schema{kind: "string", pattern: domainName})
		domains.set = true
		to["domainNames"] = domains
		actions, bare, words = append(actions, "Pass"), append(bare, "domainNames"), words+"/domainNames"
	}
	rules := func(peers string, fields map[string]*schema) *schema {
		return &schema{kind: "array", most: 100, items: &schema{kind: "object", required: []string{"action", peers}, fields: map[string]*schema{
			"action": {kind: "string", enum: actions}, "name": {kind: "string", most: 100},
			"ports": ports, peers: list(100, one(fields)),
		}}}
	}
	egress := rules("to", to)
	egress.items.rule, egress.items.lenient = namesOfPods("ports", "namedPort", words, bare...), true
	spec := &schema{kind: "object", required: []string{"subject"}, fields: map[string]*schema{
		"subject": one(map[string]*schema{"namespaces": selector, "pods": pods}),
		"ingress": rules("from", map[string]*schema{"namespaces": selector, "pods": pods}),
		"egress":  egress,
	}}
	if admin {
		spec.required = []string{"priority", "subject"}
		spec.fields["priority"] = &schema{kind: "integer", most: 1000}
	}
	return spec
}

// onlyDefault is the rule of a BaselineAdminNetworkPolicy's name.
const onlyDefault = `Only one baseline admin network policy with metadata.name="default" can be created in the cluster`
