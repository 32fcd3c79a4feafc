// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"io"

	"github.com/charmbracelet/x/term"
)

// Output is what a program shall write to: the painter, and if it paints on a
// file, such as a terminal, something that can be asked what that file can be
// asked.
func (p *Painter) Output() io.Writer {
	if f, ok := p.out.(term.File); ok {
		return file{f, p}
	}
	return p
}

// file is a file with a painter in front of it.
type file struct {
	term.File
	painter *Painter
}

// Write implements [io.Writer].
func (f file) Write(b []byte) (int, error) { return f.painter.Write(b) }
