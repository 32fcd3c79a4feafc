// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"reflect"
	"sync"
	"time"
	"unsafe"

	tea "charm.land/bubbletea/v2"
)

// clock stops the ticker by which Bubble Tea looks for something to write,
// modes times a second for as long as the program runs, while no message comes:
// only messages lead to something. It was all that woke a session up that shows
// the end of a recording. Bubble Tea has no option for it (once a second is the
// least), so its field is reached for; where a release has no such field, the
// ticker goes on.
type clock struct {
	program *tea.Program
	lasts   time.Duration // how long it runs after a message
	rested  func()        // called when it was stopped; nil: nobody waits for it

	mu      sync.Mutex
	ticker  *time.Ticker // nil: not found yet
	sought  bool
	stopped bool
	message time.Time // the last one
	end     *time.Timer
}

// lately is how long the ticker goes on after a message: what that leads to
// (a mode, the clipboard) is written by then.
const lately = time.Second

var tickerType = reflect.TypeFor[*time.Ticker]()

// heard is called in the program's loop, which is where the ticker is made.
func (c *clock) heard() {
	if c == nil || c.program == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sought {
		c.sought = true
		if f := reflect.ValueOf(c.program).Elem().FieldByName("ticker"); f.IsValid() && f.Type() == tickerType {
			c.ticker = *(**time.Ticker)(unsafe.Pointer(f.UnsafeAddr())) //nolint:gosec // of that type, as was just checked
		}
	}
	if c.ticker == nil {
		return
	}
	c.message = time.Now()
	if c.stopped {
		c.stopped = false
		c.ticker.Reset(time.Second / modes)
	}
	if c.end == nil {
		c.end = time.AfterFunc(c.lasts, c.rest)
	}
}

// rest stops the ticker if nothing has come lately.
func (c *clock) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := c.lasts - time.Since(c.message); left > 0 {
		c.end.Reset(left)
		return
	}
	c.end = nil
	c.stopped = true
	c.ticker.Stop()
	if c.rested != nil {
		c.rested()
	}
}
