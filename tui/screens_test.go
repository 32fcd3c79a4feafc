// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"testing"

	"github.com/charmbracelet/x/exp/golden"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// views are the screens that are looked at: how to come there.
var views = []struct {
	name  string
	page  string
	keys  []string
	world func() *fake.World
}{
	{name: "top", page: "top"},
	{name: "flows", page: "flows", keys: []string{"down", "down"}},
	{name: "connections", page: "connections", keys: []string{"down", "down"}},
	{name: "changes", page: "changes"},
	{name: "drops", page: "drops"},
	{name: "policies", page: "policies", keys: []string{"down"}},
	{name: "nodes", page: "nodes", keys: []string{"down"}},
	{name: "timeline", page: "timeline"},
	{name: "matrix", page: "matrix"},
	{name: "why", page: "connections", keys: []string{"down", "down", "enter"}},
	{name: "why-service", page: "connections", keys: []string{"end", "up", "up", "up", "enter"}},
	{name: "why-disagrees", page: "connections", keys: []string{"down", "down", "down", "down", "down", "enter"}},
	{name: "top-ports", page: "top", keys: []string{"b", "b", "b", "b"}},
	{name: "flows-wide", page: "connections", keys: []string{"w"}},
	{name: "why-drop", page: "drops", keys: []string{"enter"}},
	{name: "policy", page: "policies", keys: []string{"down", "enter"}},
	{name: "enforce", page: "policies", keys: []string{"down", "e"}},
	{name: "help", page: "policies", keys: []string{"?"}},
	{name: "frozen", page: "flows", keys: []string{"space"}},
	{name: "empty", page: "flows", world: fake.Empty},
	{name: "recording", page: "policies", keys: []string{"down", "e"}, world: fake.Recording},
}

var sizes = [][2]int{{80, 24}, {120, 40}, {200, 60}}

// TestScreens compares every page at three sizes, with colours and without,
// with what was looked at and found good. -update writes them anew; look at
// the difference before committing it.
func TestScreens(t *testing.T) {
	for _, v := range views {
		for _, size := range sizes {
			for _, colour := range []bool{true, false} {
				name := fmt.Sprintf("%s/%dx%d", v.name, size[0], size[1])
				if colour {
					name += "-colour"
				}
				t.Run(name, func(t *testing.T) {
					w := fake.New
					if v.world != nil {
						w = v.world
					}
					d := drive(t, w(), size[0], size[1], func(o *Options) { o.StartPage, o.NoColor = v.page, !colour })
					d.keys(v.keys...)
					d.fits(size[0], size[1])
					if colour {
						golden.RequireEqual(t, d.screen())
					} else {
						golden.RequireEqual(t, d.text())
					}
				})
			}
		}
	}
}
