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
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/tui"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
	"github.com/ebpol/kubectl-ebpol/tui/picture"
)

func main() { os.Exit(run()) }

func run() int {
	page := flag.String("page", "top", "page to open")
	world := flag.String("world", "shop", "shop, empty, recording or many")
	still := flag.Bool("still", false, "let no time pass")
	ascii := flag.Bool("ascii", false, "glyphs from ASCII only")
	light := flag.Bool("light", false, "for a light background")
	svg := flag.String("svg", "", "write a picture to this file instead of opening the screen")
	size := flag.String("size", "120x40", "of the picture")
	keys := flag.String("keys", "", "to press before the picture, separated by commas")
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
	options := tui.Options{Snapshots: w, Actions: w, StartPage: *page, ASCII: *ascii, Light: light}
	if *svg != "" {
		return paint(*svg, *size, *keys, options)
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
	if err := tui.Run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func paint(file, size, keys string, o tui.Options) int {
	var width, height int
	_, err := fmt.Sscanf(size, "%dx%d", &width, &height)
	var screen string
	if err == nil {
		screen, err = tui.Still(o, width, height, strings.FieldsFunc(keys, func(r rune) bool { return r == ',' })...)
	}
	if err == nil {
		err = os.WriteFile(file, []byte(picture.SVG(screen, width, height, *o.Light)), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
