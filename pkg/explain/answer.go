// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"encoding/json"
	"strconv"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// append writes the answer as JSON. It is [json.Marshal] without reflection:
// most of a batch's time would go there.
func (a *Answer) append(b []byte) []byte {
	if a.Error != "" || len(a.Readings) > 0 {
		text, err := json.Marshal(a)
		if err != nil {
			text, _ = json.Marshal(Answer{Error: err.Error()})
		}
		return append(append(b, text...), '\n')
	}
	b = append(b, '{')
	if len(a.ID) > 0 {
		b = append(append(append(b, `"id":`...), a.ID...), ',')
	}
	b = append(append(append(b, `"verdict":"`...), a.Verdict.String()...), '"')
	b = a.Ingress.append(append(b, `,"ingress":`...))
	b = a.Egress.append(append(b, `,"egress":`...))
	return append(b, "}\n"...)
}

func (e *End) append(b []byte) []byte {
	b = append(append(append(b, `{"verdict":"`...), e.Verdict.String()...), '"')
	if e.Rule != nil {
		b = appendRule(append(b, `,"rule":`...), e.Rule)
	}
	if len(e.IsolatedBy) > 0 {
		b = append(b, `,"isolatedBy":[`...)
		for i := range e.IsolatedBy {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendRule(b, &e.IsolatedBy[i])
		}
		b = append(b, ']')
	}
	if e.Reason != "" {
		b = append(append(append(b, `,"reason":"`...), e.Reason...), '"')
	}
	return append(b, '}')
}

// appendRule writes a rule; the names of Kubernetes' objects need no escapes.
func appendRule(b []byte, r *flow.Rule) []byte {
	b = append(append(append(b, `{"kind":"`...), r.Kind...), '"')
	if r.Namespace != "" {
		b = append(append(append(b, `,"namespace":"`...), r.Namespace...), '"')
	}
	b = append(append(append(b, `,"name":"`...), r.Name...), '"')
	if r.Index != nil {
		b = strconv.AppendInt(append(b, `,"index":`...), int64(*r.Index), 10)
	}
	return append(b, '}')
}
