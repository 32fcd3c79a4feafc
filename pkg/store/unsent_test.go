// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"
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
