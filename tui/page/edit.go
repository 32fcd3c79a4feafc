// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// editedMsg says that the editor was closed.
type editedMsg struct {
	file   string
	before string
	err    error
}

// edit opens a policy's text in $VISUAL or $EDITOR; what is saved becomes a
// candidate in dry-run.
func (p *Policy) edit() Effect {
	d, ok := p.env.Actions.(Drafter)
	if why := p.env.Actions.Can("mode"); why != "" {
		return Effect{Toast: why, Bad: true}
	}
	if !ok || d == nil {
		return Effect{Toast: "Policies can't be changed here. Edit the file and start dry-run -f with it.", Bad: true}
	}
	name := editor()
	if len(name) == 0 {
		return Effect{Toast: "No editor: set $EDITOR.", Bad: true}
	}
	text := p.row.YAML
	if again, ok := p.env.refused.Load(p.id); ok {
		text, _ = again.(string)
	}
	before := p.row.YAML
	return Effect{Cmd: func() tea.Msg {
		f, err := os.CreateTemp("", "ebpol-*.yaml")
		if err != nil {
			return DoneMsg{Err: fmt.Errorf("edit: %w", err)}
		}
		_, err = io.WriteString(f, text)
		if err = cmp.Or(err, f.Close()); err != nil {
			return DoneMsg{Err: fmt.Errorf("edit: %w", err)}
		}
		return editMsg{append(name, f.Name()), before}
	}}
}

// editMsg says that the file is there to be edited by a command.
type editMsg struct {
	command []string // its last word is the file
	before  string
}

// open gives the terminal to the editor until it is closed.
func (m editMsg) open(terminal *os.File) Effect {
	file := m.command[len(m.command)-1]
	command := exec.Command(m.command[0], m.command[1:]...) //nolint:gosec // the user's own editor
	command.Stdout = cmp.Or(terminal, os.Stdout)            // the terminal itself: what the screen writes to is none
	return Effect{Cmd: tea.ExecProcess(command, func(err error) tea.Msg { return editedMsg{file, m.before, err} })}
}

func editor() []string {
	fallback := "vi"
	if runtime.GOOS == "windows" {
		fallback = "notepad"
	}
	words := strings.Fields(cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), fallback))
	if len(words) > 0 {
		if path, err := exec.LookPath(words[0]); err == nil {
			return append([]string{path}, words[1:]...)
		}
	}
	return nil
}

// edited makes a candidate of what was saved.
func (p *Policy) edited(msg editedMsg) Effect {
	d, ok := p.env.Actions.(Drafter)
	if !ok {
		return Effect{}
	}
	if msg.err != nil {
		_ = os.Remove(msg.file) // best effort: it is a temporary file
		return Effect{Toast: "The editor failed, so nothing was changed: " + msg.err.Error(), Bad: true}
	}
	return Effect{Cmd: func() tea.Msg {
		text, err := os.ReadFile(msg.file)
		_ = os.Remove(msg.file) // best effort: it is a temporary file
		switch {
		case err != nil:
			return DoneMsg{Err: fmt.Errorf("the text can't be read back, so nothing was changed: %w", err)}
		case bytes.Equal(text, []byte(msg.before)):
			p.env.refused.Delete(p.id)
			return DoneMsg{Good: "Nothing was changed."}
		case len(bytes.TrimSpace(text)) == 0: // as with a commit's message: it was thought better of
			p.env.refused.Delete(p.id)
			return DoneMsg{Good: "The text was emptied, so nothing was changed. o takes the policy out of the candidate set."}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		drafted, err := d.Draft(ctx, p.id, text)
		if err != nil {
			p.env.refused.Store(p.id, string(text))
			return DoneMsg{Err: fmt.Errorf("%s; %s opens your text again, saved empty it is forgotten", firstFault(err), p.env.Keys.Edit.Help().Key)}
		}
		p.env.refused.Delete(p.id)
		return DoneMsg{Good: draftedSentence(p.id, drafted)}
	}}
}

// firstFault is an error's first line, and how many more there are: what can be
// done about it stands behind it, and shall not be cut.
func firstFault(err error) string {
	first, rest, more := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if !more {
		return first
	}
	return first + " (and " + part.Of(uint64(strings.Count(rest, "\n")+1), "more fault") + ")"
}

// draftedSentence says what is in dry-run now: the policy that was edited may have
// got another name, or company.
func draftedSentence(edited PolicyID, drafted []PolicyID) string {
	names := make([]string, 0, len(drafted))
	for _, id := range drafted {
		names = append(names, part.Clean(slash(id.Namespace, id.Name)))
	}
	verb := " is"
	if len(names) > 1 {
		names = []string{strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]}
		verb = " are"
	}
	s := strings.Join(names, "") + " as edited" + verb + " in dry-run; "
	if !slices.Contains(drafted, edited) {
		return s + part.Clean(slash(edited.Namespace, edited.Name)) + ", which has another name, is as it was."
	}
	return s + "the cluster is as it was."
}
