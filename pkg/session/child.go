// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// endWithin is how long a child has to free what it holds once its stdin is
// closed.
const endWithin = 5 * time.Second

// Child is a Dialer that starts a probe as a child process, for this machine
// and for the demo. Each Dial starts one; closing the stream ends it, and so
// does the end of this process, however it ends.
func Child(path string, args ...string) Dialer { return ChildBy(nil, path, args...) }

// ChildBy is Child with a start of the caller's own: in another network
// namespace, say. It is up to start that the child ends with this process.
func ChildBy(start func(*exec.Cmd) error, path string, args ...string) Dialer {
	return &child{start, path, args}
}

type child struct {
	start func(*exec.Cmd) error // nil: here
	path  string
	args  []string
}

// Dial implements [Dialer].
func (c *child) Dial(context.Context) (io.ReadWriteCloser, error) {
	cmd := exec.Command(c.path, c.args...) //nolint:gosec // the caller's own program
	p := &process{cmd: cmd, ended: make(chan struct{})}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		// The child asks the kernel to end it when the thread that started it
		// does: this one must live as long as the child, and must not have
		// been in another namespace.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		start := c.start
		if start == nil {
			start = (*exec.Cmd).Start
		}
		err := start(cmd)
		started <- err
		if err != nil {
			return
		}
		_, _ = io.Copy(&p.said, said) // until the child ends
		if state, err := cmd.Process.Wait(); err == nil {
			p.code = state.ExitCode()
		}
		_ = said.Close()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the probe %q: %w", c.path, err)
	}
	return p, nil
}

// process is a running child as a stream.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	said  lastWords
	ended chan struct{}
	code  int // valid once ended
	once  sync.Once
	err   error
}

// Read says what the child last said if it ended badly.
func (p *process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	select {
	case <-p.ended:
		if p.code != 0 {
			return 0, fmt.Errorf("the probe ended with exit code %d: %s", p.code, p.said.String())
		}
	case <-time.After(time.Second):
	}
	return n, err
}

func (p *process) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends the child and waits for it.
func (p *process) Close() error {
	p.once.Do(func() {
		_ = p.in.Close()
		select {
		case <-p.ended:
		case <-time.After(endWithin):
			_ = p.cmd.Process.Kill()
			<-p.ended
			p.err = fmt.Errorf("the probe did not end within %s and was killed", endWithin)
		}
		_ = p.out.Close()
	})
	return p.err
}

// lastWords keeps the end of what a child wrote to stderr.
type lastWords struct {
	mu sync.Mutex
	b  []byte
}

func (w *lastWords) Write(b []byte) (int, error) {
	const most = 2000
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, b...)
	if len(w.b) > most {
		w.b = append([]byte(nil), w.b[len(w.b)-most:]...)
	}
	return len(b), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := strings.TrimSpace(wire.Clean(string(w.b), 2000)); s != "" {
		return s
	}
	return "it said nothing"
}
