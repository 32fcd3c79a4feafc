// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/tui"
)

// looks say how the screen is drawn, for terminals that can't do everything.
type looks struct {
	ascii      bool
	noMouse    bool
	background string
}

// addLooks gives a command that has a screen its flags.
func (g *globals) addLooks(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&g.looks.ascii, "ascii", false, "draw the screen with ASCII characters only")
	fs.BoolVar(&g.looks.noMouse, "no-mouse", false, "leave the mouse to the terminal, for selecting text")
	fs.StringVar(&g.looks.background, "background", "", "of the terminal: light or dark; it is asked unless this says so")
	cmd.PreRunE = func(*cobra.Command, []string) error { return g.looks.check() }
}

func (l *looks) check() error {
	switch l.background {
	case "", "light", "dark":
		return nil
	}
	return fmt.Errorf("--background %q: give light or dark", l.background)
}

func (l *looks) apply(o *tui.Options) {
	o.ASCII, o.NoMouse = l.ascii, l.noMouse
	if l.background != "" {
		light := l.background == "light"
		o.Light = &light
	}
}
