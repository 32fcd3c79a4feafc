// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// TestUnsentSentences: what never became a packet is explained by what the
// probe found out, in the pod that it was in.
func TestUnsentSentences(t *testing.T) {
	for _, c := range []struct {
		evidence, culprit, says string
		benign                  bool
	}{
		{"unsent route-none 12 curl", "no route", "curl (pid 12) tried in vain. The pod has no route to the destination, so no packet is made. Look at ip route in the network namespace of pod shop/web (kubectl debug -it -n shop web --profile=netadmin --image=... enters it).", false},
		{"unsent program 12 my app", "eBPF program of a cgroup (Cilium)", "my app (pid 12) tried in vain. A cgroup program refused connect()", false},
		{"unsent family 12 curl", "no IPv6 in the pod", "most applications then take IPv4", true},
		{"unsent ports", "no free port", "ip_local_port_range", false},
		{"unsent something-new 12 curl", "not known", "strace", false},
	} {
		cause := Cause{Reason: "EBPOL_UNSENT", Location: "connect", Evidence: c.evidence, Within: "shop/web"}
		if strings.Contains(c.evidence, "program") {
			cause.Programs = []string{"cil_sock4_connect"}
		}
		e := cause.Explain()
		if e.Culprit != c.culprit || !strings.Contains(e.Sentence, c.says) || e.Benign != c.benign {
			t.Errorf("%s: %+v", c.evidence, e)
		}
	}
}

// TestInferredRuleSentence: what was inferred says so, and the old iptables is
// looked at with its own tools.
func TestInferredRuleSentence(t *testing.T) {
	for _, c := range []struct {
		rule flow.NftRule
		says []string
	}{
		{flow.NftRule{Family: "netdev", Table: "fw", Chain: "in", Handle: 4, Verdict: "drop", Inferred: true}, []string{"Rule 4 of chain in in table netdev fw dropped it.", "That is inferred", "nft -a list chain netdev fw in on the node"}},
		{flow.NftRule{Family: "ip6tables-legacy", Table: "filter", Chain: "FORWARD", Handle: 2, Text: "-j REJECT", Inferred: true, Comment: "x"}, []string{`Rule 2 of chain FORWARD in table filter of ip6tables-legacy ("x") rejected it.`, "ip6tables-legacy -t filter -vnL FORWARD --line-numbers on the node"}},
		{flow.NftRule{Family: "iptables-legacy", Table: "filter", Chain: "INPUT", Inferred: true}, []string{"The policy of chain INPUT in table filter of iptables-legacy dropped it."}},
	} {
		e := Cause{Reason: "NETFILTER_DROP", Rule: &c.rule, Evidence: "iptables-legacy filter"}.Explain()
		for _, s := range c.says {
			if !strings.Contains(e.Sentence, s) {
				t.Errorf("%q not in %q", s, e.Sentence)
			}
		}
	}
}
