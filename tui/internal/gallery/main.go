// SPDX-License-Identifier: Apache-2.0

// Command gallery opens the screen on made-up data, for looking at pages
// while changing them. CONTRIBUTING has the tmux recipe.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/ebpol/kubectl-ebpol/tui"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

func main() { os.Exit(run()) }

func run() int {
	page := flag.String("page", "top", "page to open")
	world := flag.String("world", "shop", "shop, empty, recording or many")
	still := flag.Bool("still", false, "let no time pass")
	ascii := flag.Bool("ascii", false, "glyphs from ASCII only")
	light := flag.Bool("light", false, "for a light background")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var w *fake.World
	switch *world {
	case "empty":
		w = fake.Empty()
	case "recording":
		w = fake.Recording()
	case "many":
		w = fake.Many(100_000)
	default:
		w = fake.New()
	}
	if !*still {
		go func() {
			for t := time.NewTicker(time.Second); ; {
				select {
				case <-t.C:
					w.Step(time.Second)
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	err := tui.Run(ctx, tui.Options{Snapshots: w, Actions: w, StartPage: *page, ASCII: *ascii, Light: light})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
