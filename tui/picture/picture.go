// SPDX-License-Identifier: Apache-2.0

// Package picture turns a screen as it is sent to a terminal into an SVG
// image, for documents: the picture is what the program drew, cell by cell,
// not what somebody drew by hand.
package picture

import (
	"fmt"
	"html"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
)

// The size of a cell in pixels, for a monospace font of 14 pixels.
const (
	cellWidth  = 8.43
	cellHeight = 18.0
	fontSize   = 14
	border     = 10.0
)

// palette is the 16 colours with background and foreground.
type palette struct {
	ground, text string
	colours      [16]string
}

var (
	dark = palette{"#16181d", "#d5d8de", [16]string{
		"#16181d", "#d75f5f", "#7fae7f", "#d7af5f", "#6f9fd7", "#b48ead", "#6fb3b8", "#d5d8de",
		"#7a808c", "#f28b82", "#a3d39c", "#f2cf7e", "#94bff3", "#d3a9d6", "#93d4d9", "#ffffff",
	}}
	light = palette{"#fbfbfa", "#24292f", [16]string{
		"#24292f", "#b3261e", "#2f7d32", "#8a6100", "#1f5fb0", "#8b3fa0", "#0f7480", "#d0d4da",
		"#6b727c", "#c5362d", "#388e3c", "#a07100", "#2f74cf", "#a04fb5", "#148593", "#ffffff",
	}}
)

// SVG draws a screen of width x height cells; styled is text with SGR
// sequences, lines ended by line feeds, as a frame's content has it.
func SVG(styled string, width, height int, onLight bool) string {
	p := dark
	if onLight {
		p = light
	}
	buf := uv.NewScreenBuffer(width, height)
	uv.NewStyledString(styled).Draw(buf, buf.Bounds())
	var b strings.Builder
	w, h := float64(width)*cellWidth+2*border, float64(height)*cellHeight+2*border
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.1f %.1f" width="%.0f" height="%.0f" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="%d">`, w, h, w, h, fontSize)
	fmt.Fprintf(&b, "\n<rect width=\"%.1f\" height=\"%.1f\" rx=\"6\" fill=\"%s\"/>\n", w, h, p.ground)
	for y := range height {
		for x := 0; x < width; {
			n, text, st := run(buf, x, y, width)
			draw(&b, p, x, y, n, text, st)
			x += n
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// run is the longest stretch of cells of one style from x on.
func run(buf uv.ScreenBuffer, x, y, width int) (n int, text string, st uv.Style) {
	var b strings.Builder
	for at := x; at < width; {
		c := buf.CellAt(at, y)
		if c == nil {
			c = &uv.Cell{Content: " ", Width: 1}
		}
		if at == x {
			st = c.Style
		} else if !st.Equal(&c.Style) {
			break
		}
		b.WriteString(c.Content)
		step := max(1, c.Width)
		n += step
		at += step
	}
	return n, b.String(), st
}

func draw(b *strings.Builder, p palette, x, y, n int, text string, st uv.Style) {
	fg, bg := p.of(st.Fg, p.text), p.of(st.Bg, "")
	if st.Attrs&uv.AttrReverse != 0 {
		if bg == "" {
			bg = p.ground
		}
		fg, bg = bg, fg
	}
	left, top := border+float64(x)*cellWidth, border+float64(y)*cellHeight
	if bg != "" {
		fmt.Fprintf(b, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.0f\" fill=\"%s\"/>\n", left, top, float64(n)*cellWidth, cellHeight, bg)
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	extra := ""
	if st.Attrs&uv.AttrBold != 0 {
		extra += ` font-weight="bold"`
	}
	if st.Attrs&uv.AttrFaint != 0 {
		extra += ` opacity="0.6"`
	}
	if st.Underline != uv.UnderlineNone {
		extra += ` text-decoration="underline"`
	}
	fmt.Fprintf(b, "<text x=\"%.2f\" y=\"%.2f\" fill=\"%s\" xml:space=\"preserve\" textLength=\"%.2f\"%s>%s</text>\n",
		left, top+13.5, fg, float64(n)*cellWidth, extra, html.EscapeString(text))
}

// of is a colour's value; other than the 16 colours are taken as they are.
func (p palette) of(c any, none string) string {
	switch c := c.(type) {
	case nil:
		return none
	case ansi.BasicColor:
		return p.colours[c&15]
	case interface{ RGBA() (r, g, b, a uint32) }:
		r, g, bl, _ := c.RGBA()
		return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, bl>>8)
	}
	return none
}
