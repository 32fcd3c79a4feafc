// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"regexp"
	"slices"
)

// clusterNetworkPolicySpec is the schema of
// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy's spec.
var clusterNetworkPolicySpec = func() *schema {
	text := &schema{kind: "string"}
	selector := selectorSchema()
	pods := &schema{kind: "object", required: []string{"podSelector"}, fields: map[string]*schema{"namespaceSelector": selector, "podSelector": selector}}
	one := func(fields map[string]*schema) *schema {
		return &schema{kind: "object", least: 1, most: 1, fields: fields}
	}
	most25 := func(items *schema) *schema { return &schema{kind: "array", least: 1, most: 25, items: items} }

	number := &schema{kind: "integer", least: 1, most: 65535}
	ports := &schema{kind: "object", required: []string{"end", "start"}, fields: map[string]*schema{"end": number, "start": number}, rule: startBeforeEnd}
	protocol := &schema{kind: "object", least: 1, lenient: true, fields: map[string]*schema{
		"destinationPort": one(map[string]*schema{"number": number, "range": ports}),
	}}
	protocols := most25(one(map[string]*schema{"tcp": protocol, "udp": protocol, "sctp": protocol, "destinationNamedPort": text}))
	protocols.lenient = true // none are as if they were left out

	networks := most25(&schema{kind: "string", most: 43, rule: isCIDR})
	networks.set = true
	domains := most25(&schema{kind: "string", pattern: domainName})
	domains.set = true
	rules := func(peers string, fields map[string]*schema) *schema {
		return &schema{kind: "array", most: 25, items: &schema{kind: "object", required: []string{"action", peers}, fields: map[string]*schema{
			"action": {kind: "string", enum: []string{"Accept", "Deny", "Pass"}}, "name": {kind: "string", most: 100},
			"protocols": protocols, peers: most25(one(fields)),
		}}}
	}
	egress := rules("to", map[string]*schema{"namespaces": selector, "pods": pods, "nodes": selector, "networks": networks, "domainNames": domains})
	egress.items.rule, egress.items.lenient = namesOfPods("protocols", "destinationNamedPort", "networks/nodes/domainNames", "networks", "nodes", "domainNames"), true
	return &schema{kind: "object", required: []string{"priority", "subject", "tier"}, fields: map[string]*schema{
		"tier":     {kind: "string", enum: []string{"Admin", "Baseline"}},
		"priority": {kind: "integer", most: 1000},
		"subject":  one(map[string]*schema{"namespaces": selector, "pods": pods}),
		"ingress":  rules("from", map[string]*schema{"namespaces": selector, "pods": pods}),
		"egress":   egress,
	}}
}()

// selectorSchema takes any operator and any label: the server does.
func selectorSchema() *schema {
	text := &schema{kind: "string"}
	texts := &schema{kind: "array", items: text}
	return &schema{kind: "object", fields: map[string]*schema{
		"matchLabels": {kind: "object", values: text},
		"matchExpressions": {kind: "array", items: &schema{
			kind: "object", required: []string{"key", "operator"}, fields: map[string]*schema{"key": text, "operator": text, "values": texts},
		}},
	}}
}

var domainName = regexp.MustCompile(`^(\*\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$`)

func startBeforeEnd(value any) string {
	ports, _ := value.(map[string]any)
	start, _ := ports["start"].(interface{ Int64() (int64, error) })
	end, _ := ports["end"].(interface{ Int64() (int64, error) })
	if start == nil || end == nil {
		return ""
	}
	a, _ := start.Int64()
	b, _ := end.Int64()
	if a < b {
		return ""
	}
	return "Start port must be less than End port"
}

func isCIDR(value any) string {
	s, _ := value.(string)
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return ""
	}
	return "Invalid CIDR format provided"
}

// namesOfPods refuses a named port beside a peer that has none: peers are
// those, and words their names as the server says them.
func namesOfPods(ports, named, words string, peers ...string) func(any) string {
	has := func(list any, keys ...string) bool {
		items, _ := list.([]any)
		return slices.ContainsFunc(items, func(v any) bool {
			m, _ := v.(map[string]any)
			return slices.ContainsFunc(keys, func(k string) bool { return m[k] != nil })
		})
	}
	return func(value any) string {
		rule, _ := value.(map[string]any)
		if has(rule["to"], peers...) && has(rule[ports], named) {
			return words + " peer cannot be set with namedPorts since there are no namedPorts for " + words
		}
		return ""
	}
}
