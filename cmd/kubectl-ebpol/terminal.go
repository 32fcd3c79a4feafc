// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/ebpol/kubectl-ebpol/pkg/plain"
)

// onTerminal says whether a person sits at both ends: only then a screen makes
// sense, and only then someone can be asked.
func (g *globals) onTerminal() bool {
	in, ok := g.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) { //nolint:gosec // a file descriptor fits
		return false
	}
	out, ok := fileOf(g.Out)
	return ok && term.IsTerminal(int(out.Fd())) //nolint:gosec // a file descriptor fits
}

// fileOf is the file that an output goes to.
func fileOf(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*plain.Output); ok {
		w = o.W
	}
	f, ok := w.(*os.File)
	return f, ok
}

// errDeclined says that the user was asked and said no.
var errDeclined = errors.New("nothing was done")

// confirm asks for a word to be typed. Without a terminal nobody can be asked:
// the error then says what flag answers for them.
func (g *globals) confirm(question, word string) error {
	if !g.onTerminal() {
		return fmt.Errorf("%s: nobody can be asked without a terminal; add --yes if you mean it", question)
	}
	fmt.Fprintf(g.ErrOut, "%s\nType %q to go on: ", question, word)
	line, err := bufio.NewReader(g.In).ReadString('\n')
	if err != nil && line == "" {
		return errDeclined
	}
	if !strings.EqualFold(strings.TrimSpace(line), word) {
		return errDeclined
	}
	return nil
}
