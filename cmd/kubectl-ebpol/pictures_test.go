// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/ebpol/kubectl-ebpol/pkg/demo"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui"
	"github.com/ebpol/kubectl-ebpol/tui/picture"
)

var pictures = flag.String("pictures", "", "write pictures of the screens to this folder")

// TestTheDemoOnTheScreen plays the recording that ships with the plugin and
// looks at what a person would see who follows the footer's keys: the flow that
// the candidate's author forgot, why, and what would help. With -pictures it
// keeps the screens as images for the README.
func TestTheDemoOnTheScreen(t *testing.T) {
	src, err := record.OpenReader("demo", demo.Recording(), record.Play{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close(t.Context())
	st := store.New(store.Options{Source: "demo", Replay: true})
	for f := range src.Frames() {
		if f.GetProbeState().GetPhase() == "gone" || f.GetBye() != nil {
			break // the end of the show, as nobody looks at it
		}
		st.Apply(f)
	}
	t.Setenv("NO_COLOR", "")
	for _, p := range []struct {
		name, page string
		height     int
		keys       []string
		filter     string
		shows      []string
	}{
		{name: "top", page: "top", height: 20, shows: []string{"shop/sts/db", "shop/cronjob/report"}},
		{name: "flows", page: "changes", height: 24, shows: []string{"~ would deny", "shop/cronjob/report", "shop/sts/db"}},
		{name: "why", page: "connections", height: 40, filter: "from=report-* to=db-* direction=ingress", keys: []string{"enter"}, shows: []string{"The candidate would change that to denied", "NEARLY", "WOULD HELP", "app: report"}},
		{name: "policy", page: "policies", height: 30, filter: "backends", keys: []string{"enter"}, shows: []string{"kind: NetworkPolicy", "no rule allows: denied"}},
		{name: "drops", page: "drops", height: 20, shows: []string{"DROPPED BY"}},
		{name: "policies", page: "policies", height: 20, shows: []string{"dry-run", "LINT", "WEIGHT"}},
		{name: "matrix", page: "matrix", height: 20, shows: []string{"shop/cronjob/report", "default/pod/intruder → shop/sts/db"}},
		{name: "nodes", page: "nodes", height: 22, shows: []string{"PROBE", "Our programs take"}},
		{name: "timeline", page: "timeline", height: 20, shows: []string{"WHAT HAPPENED", "dropped"}},
	} {
		t.Run(p.name, func(t *testing.T) {
			const width = 120
			screen, err := tui.Still(tui.Options{
				Snapshots: st, Actions: &actions{source: src, store: st}, StartPage: p.page, Filter: p.filter, Title: "demo",
			}, width, p.height, p.keys...)
			if err != nil {
				t.Fatal(err)
			}
			text := ansi.Strip(screen)
			for _, want := range p.shows {
				if !strings.Contains(text, want) {
					t.Errorf("the screen doesn't show %q:\n%s", want, text)
				}
			}
			if *pictures == "" {
				return
			}
			file := filepath.Join(*pictures, p.name+".svg")
			if err := os.WriteFile(file, []byte(picture.SVG(screen, width, p.height, false)), 0o644); err != nil { //nolint:gosec // a picture for everybody
				t.Fatal(err)
			}
		})
	}
}
