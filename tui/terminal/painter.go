// SPDX-License-Identifier: Apache-2.0

// Package terminal brings frames of text to a terminal. Bubble Tea sets the
// terminal's modes and reads its input; what stands on the screen is written
// here, because Bubble Tea's own renderer compares every cell of two frames:
// at 200x60 and four frames a second that was a third of all that a busy
// session took. Here lines that are the same are not looked at, and while
// nothing changes nobody wakes up.
package terminal

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// Painter is the output of a program that sets modes (Write) and the frames
// that stand on its alternate screen (Show). Whatever the program writes may
// have changed what stands there, so the frame follows it in the same write to
// the terminal: nobody sees what was in between. Frames are only written while
// the program holds the alternate screen.
type Painter struct {
	out   io.Writer
	pace  time.Duration
	dirty chan struct{} // holds one token while there is something to paint
	stop  chan struct{}
	done  chan struct{}

	mu     sync.Mutex
	held   bool     // the alternate screen is ours
	sync   bool     // the terminal can hold back what is written until it is whole
	width  int      // the terminal's, in columns; 0: not known
	height int      // in lines
	frame  string   // to be shown
	shown  []string // what stands on the screen, by line
	known  bool     // shown is true
	buf    bytes.Buffer
	failed error
}

// NewPainter writes to out, at most once in pace. End it with Close.
func NewPainter(out io.Writer, pace time.Duration) *Painter {
	p := &Painter{out: out, pace: pace, dirty: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// Close ends the painting. It doesn't close the output.
func (p *Painter) Close() {
	close(p.stop)
	<-p.done
}

// Show gives the frame that is to stand on the screen: lines without cursor
// movements. It doesn't wait for the terminal.
func (p *Painter) Show(frame string) {
	p.mu.Lock()
	same := p.frame == frame
	p.frame = frame
	p.mu.Unlock()
	if !same {
		p.signal()
	}
}

// Resize says how many columns and lines the terminal has now; nothing is
// painted before the first one. What stood there may have moved.
func (p *Painter) Resize(width, height int) {
	p.mu.Lock()
	p.width, p.height, p.known = width, height, false
	p.mu.Unlock()
	p.signal()
}

// Synchronized says that the terminal knows synchronized output.
func (p *Painter) Synchronized() {
	p.mu.Lock()
	p.sync = true
	p.mu.Unlock()
}

func (p *Painter) signal() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

func (p *Painter) run() {
	defer close(p.done)
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-p.dirty:
		case <-p.stop:
			return
		}
		select {
		case <-rest.C:
		case <-p.stop:
			return
		}
		p.mu.Lock()
		p.buf.Reset()
		p.paint()
		p.flush()
		p.mu.Unlock()
		rest.Reset(p.pace)
	}
}

// The sequences that a program takes and leaves the alternate screen with.
var (
	enter = []byte(ansi.SetModeAltScreenSaveCursor)
	leave = []byte(ansi.ResetModeAltScreenSaveCursor)
)

// Write passes on what sets modes, and the frame behind it. It implements
// [io.Writer] for the program.
func (p *Painter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if in, out := bytes.LastIndex(b, enter), bytes.LastIndex(b, leave); in != out {
		p.held = in > out
	}
	p.buf.Reset()
	p.buf.Write(b)
	p.known = false
	p.paint()
	p.flush()
	return len(b), p.failed
}

func (p *Painter) flush() {
	if p.buf.Len() == 0 {
		return
	}
	if _, err := p.out.Write(p.buf.Bytes()); err != nil {
		p.failed = err // the program's next write tells it
	}
}

// paint appends to buf what makes the frame of what stands there.
func (p *Painter) paint() {
	if !p.held || p.frame == "" || p.width <= 0 || p.height <= 0 {
		return
	}
	lines := strings.Split(p.frame, "\n")
	lines = lines[:min(len(lines), p.height)]
	if !p.known {
		p.shown = p.shown[:0]
	}
	start := p.buf.Len()
	if p.sync {
		p.buf.WriteString(ansi.SetModeSynchronizedOutput)
	}
	p.buf.WriteString(ansi.ResetModeAutoWrap)
	before := p.buf.Len()
	for i, line := range lines {
		switch {
		case i >= len(p.shown):
			p.line(i, "", line)
		case p.shown[i] != line:
			p.line(i, p.shown[i], line)
		}
	}
	if len(lines) < p.height && (!p.known || len(lines) < len(p.shown)) {
		p.move(len(lines), 0)
		p.buf.WriteString(ansi.EraseScreenBelow)
	}
	p.shown, p.known = lines, true
	if p.buf.Len() == before {
		p.buf.Truncate(start)
		return
	}
	p.buf.WriteString(ansi.SetModeAutoWrap)
	if p.sync {
		p.buf.WriteString(ansi.ResetModeSynchronizedOutput)
	}
}

// line writes what has changed of a line.
func (p *Painter) line(row int, old, line string) {
	from, column, pen := shared(old, line)
	p.move(row, column)
	p.buf.WriteString(pen)
	p.buf.WriteString(line[from:])
	p.buf.WriteString(ansi.ResetStyle)
	// At the end of a full line the cursor stands on its last character.
	if Width(line) < p.width {
		p.buf.WriteString(ansi.EraseLineRight)
	}
}

func (p *Painter) move(row, column int) {
	p.buf.WriteString("\x1b[")
	p.buf.WriteString(strconv.Itoa(row + 1))
	p.buf.WriteByte(';')
	p.buf.WriteString(strconv.Itoa(column + 1))
	p.buf.WriteByte('H')
}
