// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// caught runs catch until it ends by itself, and gives what it printed and how
// it ended.
func caught(t *testing.T, w *world, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), env.plugin, append([]string{"catch", "-n", w.ns, "--probe-image", env.image}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.kubeconfig)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	_ = cmd.Run() // its code says how
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// inOrder says which of the words doesn't come after those before it.
func inOrder(text string, words ...string) string {
	for _, w := range words {
		_, rest, found := strings.Cut(text, w)
		if !found {
			return w
		}
		text = rest
	}
	return ""
}

// TestCatch waits for a connection between two nodes that passes, for one that
// is dropped, and for one that never comes.
func TestCatch(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	near, far := env.nodes[1], env.nodes[0] // of web, of the database
	web, db := v4(w, "web"), v4(w, "db")
	for i, node := range []string{near, far} {
		ruleset(t, node, fmt.Sprintf("e2e_gate%d", i), fmt.Sprintf(`chain forward { type filter hook forward priority 0; ip saddr %s ip daddr %s counter accept comment "gate of %s"; };`, web, db, node))
	}
	to := "pod/db:" + fmt.Sprint(dbPort) + "/TCP"
	out, errs, code := caught(t, w, web, to)
	missing := inOrder(out, w.ns+"/web", "-> "+w.ns+"/db", "leaves the pod ("+near+")", "node "+near, "gate of "+near, "node "+far, "gate of "+far, "comes to the pod ("+far+")",
		"seen at the source", "answered", "seen at the destination")
	if code != 0 || missing != "" || strings.Contains(out, "DROPPED") {
		t.Errorf("code %d, no %q where it belongs:\n%s%s", code, missing, out, errs)
	}
	if !strings.Contains(errs, "waiting for a connection from "+web+" to pod/db:") {
		t.Errorf("stderr %q", errs)
	}

	out, errs, code = caught(t, w, web, to, "-o", "json") // the gates are for IPv4
	for _, want := range []string{`"type":"flow"`, `"type":"hop"`, `"comment":"gate of ` + near + `"`, `"comment":"gate of ` + far + `"`, `"direction":"egress"`, `"direction":"ingress"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in code %d\n%s%s", want, code, out, errs)
		}
	}

	ruleset(t, far, "e2e_wall", fmt.Sprintf(`chain forward { type filter hook forward priority 5; ip saddr %s ip daddr %s drop comment "wall of e2e"; };`, v4(w, "intruder"), db))
	out, errs, code = caught(t, w, "pod/intruder", to, "--dropped")
	if missing := inOrder(out, w.ns+"/intruder", "leaves the pod ("+far+")", "node "+far, "DROPPED by netfilter rule", `("wall of e2e")`, "nft -a list chain inet e2e_wall forward"); code != 0 || missing != "" || strings.Contains(out, "comes to the pod") {
		t.Errorf("code %d, no %q where it belongs:\n%s%s", code, missing, out, errs)
	}
	out, errs, code = caught(t, w, "pod/intruder", to, "--dropped", "-o", "json")
	if !strings.Contains(out, `"type":"drop"`) || !strings.Contains(out, `"comment":"wall of e2e"`) || code != 0 {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}

	// web's connections pass: none of them is what is waited for.
	start := time.Now()
	out, errs, code = caught(t, w, "pod/web", to, "--dropped", "--timeout", "3s")
	last := slices.Clip(strings.Split(strings.TrimSpace(errs), "\n"))
	if code != 1 || out != "" || !strings.HasPrefix(last[len(last)-1], "error: a connection from pod/web to pod/db:"+fmt.Sprint(dbPort)+"/TCP that is dropped was not seen within 3s") {
		t.Errorf("code %d after %s\n%s%s", code, time.Since(start), out, errs)
	}

	for _, args := range [][]string{{"pod/nobody", to}, {"pod/web", "svc/nobody:80"}, {"deploy/nobody", "pod/db"}} {
		out, errs, code = caught(t, w, args...)
		if code != 1 || out != "" || !strings.Contains(errs, "nobody") || strings.Count(strings.TrimSpace(errs), "\n") > 1 {
			t.Errorf("%v: code %d\n%s%s", args, code, out, errs)
		}
	}
	nothingLeft(t, w)
}
