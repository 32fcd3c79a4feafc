// SPDX-License-Identifier: Apache-2.0

package matrix_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/matrix"
)

// What is too much says what is left to ask for less, and nothing that was
// done already.
func TestTooManyQuestions(t *testing.T) {
	w := &identity.World{Pods: map[string]*identity.Pod{}}
	addr := netip.MustParseAddr("10.0.0.0")
	for i := range 2100 {
		addr = addr.Next()
		p := &identity.Pod{Namespace: "big", Name: fmt.Sprint("p", i), Workload: fmt.Sprint("pod/p", i), IPs: []netip.Addr{addr}}
		w.Pods[p.Key()] = p
	}
	port := []matrix.Port{{Protocol: flow.TCP, Number: 80}}
	for _, c := range []struct {
		in         matrix.Input
		want, none []string
	}{
		{matrix.Input{World: w, Ports: append(port, matrix.Port{Protocol: flow.TCP, Number: 81})}, []string{"with -n", "with --port", "explain --queries"}, nil},
		{matrix.Input{World: w, Ports: port}, []string{"with -n", "explain --queries"}, []string{"--port"}},
		{matrix.Input{World: w, Ports: port, Namespace: "big"}, []string{"explain --queries", "pods without an owner"}, []string{"-n,", "--port"}},
	} {
		_, err := matrix.Build(c.in)
		if err == nil {
			t.Fatal("four million questions were asked")
		}
		for _, s := range c.want {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q lacks %q", err, s)
			}
		}
		for _, s := range c.none {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%q says %q, which was done", err, s)
			}
		}
	}
}
