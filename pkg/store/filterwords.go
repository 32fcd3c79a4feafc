// SPDX-License-Identifier: Apache-2.0

package store

import (
	"maps"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// FilterFields lists the fields that [ParseFilter] knows, by the name that
// others are short for, in the order of the alphabet.
func FilterFields() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(fields)), func(f string) bool { return aliases[f] != "" })
}

// FilterWords lists what a field can be, as a term writes it, if that is a few
// words; nil if it is anything.
func FilterWords(field string) []string {
	if f, ok := aliases[field]; ok {
		field = f
	}
	switch field {
	case "verdict":
		return slices.Clone(verdictNames)
	case "candidate":
		return []string{flow.Allow.String(), flow.Deny.String(), flow.Contested.String()}
	case "direction":
		return []string{flow.Ingress.String(), flow.Egress.String()}
	case "protocol":
		return []string{"tcp", "udp", "sctp", "icmp", "icmpv6"}
	case "type":
		return []string{
			string(flow.FlowEvent), string(flow.VerdictEvent), string(flow.DropEvent), string(flow.CloseEvent), string(flow.LossEvent),
			string(flow.GapEvent), string(flow.OutcomeEvent), string(flow.DNSEvent), string(flow.HopEvent),
			string(flow.PolicyEvent), string(flow.PodEvent), string(flow.LeaseEvent),
		}
	case "observed":
		return hyphened(string(flow.Answered), string(flow.Unanswered), string(flow.Reset), string(flow.Refused), string(flow.NotArrived),
			string(flow.Dropped), string(flow.Rejected), string(flow.HalfOpen), string(flow.Retransmitting))
	case "agreement":
		return append([]string{"disagrees"}, hyphened(string(flow.Agrees), string(flow.DeniedButDelivered), string(flow.AllowedButDropped), string(flow.ContestedButSettled))...)
	}
	return nil
}

func hyphened(list ...string) []string {
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], " ", "-")
	}
	return list
}
