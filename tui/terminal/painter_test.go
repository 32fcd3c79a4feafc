// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// glass is a terminal, as far as the painter uses one: it keeps what stands in
// each cell, with the colours that were set when it was written.
type glass struct {
	t             *testing.T
	width, height int
	x, y          int
	pen           string
	cells         [][]string
	alt           bool
	last          *string // cell that was written
	writes        int
}

func newGlass(t *testing.T, width, height int) *glass {
	g := &glass{t: t, width: width, height: height}
	g.clear(0, 0)
	return g
}

func (g *glass) clear(x, y int) {
	for len(g.cells) < g.height {
		g.cells = append(g.cells, make([]string, g.width))
	}
	for ; y < g.height; x, y = 0, y+1 {
		for ; x < g.width; x++ {
			g.cells[y][x] = " "
		}
	}
}

func (g *glass) Write(b []byte) (int, error) {
	g.writes++
	rest := b
	var state byte
	for len(rest) > 0 {
		seq, width, n, next := ansi.DecodeSequence(rest, state, nil)
		state, rest = next, rest[n:]
		s := string(seq)
		switch {
		case width > 0:
			if g.x+width > g.width {
				g.x = g.width - width // it doesn't wrap
			}
			g.last = &g.cells[g.y][g.x]
			*g.last = g.pen + s
			for i := 1; i < width; i++ {
				g.cells[g.y][g.x+i] = ""
			}
			g.x = min(g.x+width, g.width-1)
		case s == ansi.SetModeAltScreenSaveCursor:
			g.alt = true
			g.clear(0, 0)
		case s == ansi.ResetModeAltScreenSaveCursor:
			g.alt = false
		case s == ansi.EraseLineRight:
			for x := g.x; x < g.width; x++ {
				g.cells[g.y][x] = " "
			}
		case s == ansi.EraseScreenBelow:
			g.clear(g.x, g.y)
		case s == ansi.EraseEntireScreen:
			g.clear(0, 0)
		case s == "\x1b[m", s == "\x1b[0m":
			g.pen = ""
		case strings.HasSuffix(s, "m"):
			g.pen += s
		case strings.HasSuffix(s, "H"):
			if _, err := fmt.Sscanf(s, "\x1b[%d;%dH", &g.y, &g.x); err != nil {
				g.t.Fatalf("%q: %v", s, err)
			}
			g.x, g.y = g.x-1, g.y-1
		case strings.HasPrefix(s, "\x1b[?"):
		case s[0] >= 0x80: // joins with what was written last
			*g.last += s
		default:
			g.t.Fatalf("unexpected %q", s)
		}
	}
	return len(b), nil
}

// want is what stands on a terminal where the frame is written onto nothing.
func want(t *testing.T, width, height int, frame string) [][]string {
	g := newGlass(t, width, height)
	for i, line := range strings.Split(frame, "\n") {
		if i < height {
			fmt.Fprintf(g, "\x1b[%d;1H%s\x1b[m", i+1, line)
		}
	}
	return g.cells
}

func same(t *testing.T, g *glass, frame string) {
	t.Helper()
	for y, row := range want(t, g.width, g.height, frame) {
		if got := strings.Join(g.cells[y], "|"); got != strings.Join(row, "|") {
			t.Fatalf("line %d of %q is\n%q, want\n%q", y, frame, got, strings.Join(row, "|"))
		}
	}
}

var words = []string{"web", "db ", " ", "  ", "\x1b[31m", "\x1b[1m", "\x1b[m", "\x1b[0m", "✓ allowed", "│", "▃", "日本", "e\u0301", "👩‍👩‍👧", "…", "12.5k", "ש"}

func anyFrame(r *rand.Rand, height int) string {
	lines := make([]string, 1+r.IntN(height))
	for i := range lines {
		for range r.IntN(9) {
			lines[i] += words[r.IntN(len(words))]
		}
		lines[i] = ansi.Truncate(lines[i]+"\x1b[m", 20, "")
	}
	return strings.Join(lines, "\n")
}

// TestAnyFrameAfterAnyOther compares what stands on the screen after many
// frames, one written over the other, with the last one alone.
func TestAnyFrameAfterAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
		g := newGlass(t, 20, 6)
		p := NewPainter(g, time.Millisecond)
		defer p.Close()
		p.Resize(20, 6)
		fmt.Fprint(p, ansi.SetModeAltScreenSaveCursor)
		frame := ""
		for range 3000 {
			if next := anyFrame(r, 6); r.IntN(4) > 0 || frame == "" {
				frame = next
			} else { // one word of the last one is another
				frame = strings.Replace(frame, "db ", "cache ", 1)
			}
			p.Show(frame)
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			same(t, g, frame)
		}
	})
}

// TestWhatTheProgramWritesIsPaintedOver: nobody sees a cleared screen.
func TestWhatTheProgramWritesIsPaintedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlass(t, 20, 3)
		p := NewPainter(g, time.Hour)
		defer p.Close()
		p.Show("one\ntwo")
		synctest.Wait()
		p.Resize(20, 3)
		fmt.Fprint(p, ansi.SetModeAltScreenSaveCursor)
		same(t, g, "one\ntwo")
		writes := g.writes
		fmt.Fprint(p, ansi.EraseEntireScreen)
		same(t, g, "one\ntwo")
		if g.writes != writes+1 {
			t.Errorf("%d writes, want it all in one", g.writes-writes)
		}
		fmt.Fprint(p, ansi.ResetModeAltScreenSaveCursor)
		writes = g.writes
		p.Show("not to be seen: an editor has the terminal")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if g.writes != writes {
			t.Error("painted where the screen isn't ours")
		}
	})
}

// TestSameFrameIsNotWritten: nothing goes to the terminal while nothing changes.
func TestSameFrameIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlass(t, 20, 3)
		p := NewPainter(g, time.Millisecond)
		defer p.Close()
		p.Resize(20, 3)
		fmt.Fprint(p, ansi.SetModeAltScreenSaveCursor)
		p.Show("a\nb")
		time.Sleep(time.Second)
		writes := g.writes
		for range 10 {
			p.Show("a\nb")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if g.writes != writes {
			t.Errorf("%d writes of what stood there", g.writes-writes)
		}
	})
}

// TestOnlyWhatChangedIsWritten bounds what a number that changes costs.
func TestOnlyWhatChangedIsWritten(t *testing.T) {
	var out bytes.Buffer
	p := &Painter{out: &out, held: true, width: 200, height: 2, known: true}
	line := "\x1b[1mshop/web\x1b[m  " + strings.Repeat("x ", 80)
	p.frame, p.shown = line+"12.5k\nfoot", []string{line + "12.4k", "foot"}
	p.paint()
	if n := p.buf.Len(); n > 40 {
		t.Errorf("%d bytes for one digit: %q", n, p.buf.String())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestAGoneTerminalIsTold(t *testing.T) {
	p := NewPainter(broken{}, time.Millisecond)
	defer p.Close()
	if _, err := p.Write([]byte("x")); err == nil {
		t.Error("no error")
	}
}

func TestWidth(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
	for range 1000 {
		line := anyFrame(r, 1)
		if got := Width(line); got != ansi.StringWidth(line) {
			t.Fatalf("%q: %d, want %d", line, got, ansi.StringWidth(line))
		}
	}
}
