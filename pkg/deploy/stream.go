// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/klog/v2"
)

// stream is the stdin and stdout of a command in a pod.
type stream struct {
	node   string
	cancel context.CancelFunc
	in     *io.PipeReader // what the command writes
	out    *io.PipeWriter // what it reads
	done   chan struct{}  // the executor has returned

	mu     sync.Mutex
	closed bool // by us
	stderr []byte
}

// dial starts e and returns when its streams stand: that is when it first
// asks for stdin.
func dial(ctx context.Context, e remotecommand.Executor, node string) (*stream, error) {
	outR, outW := io.Pipe()
	inR, inW := io.Pipe()
	// client-go logs each end of a stream; ours come back as errors
	run, cancel := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), klog.Logger{}))
	s := &stream{node: node, cancel: cancel, in: inR, out: outW, done: make(chan struct{})}
	asked := make(chan struct{})
	go func() {
		defer close(s.done)
		err := e.StreamWithContext(run, remotecommand.StreamOptions{
			Stdin:  &announcing{Reader: outR, first: sync.OnceFunc(func() { close(asked) })},
			Stdout: inW, Stderr: (*lastWords)(s),
		})
		err = s.verdict(err)
		// whoever reads or writes learns of it
		_ = inW.CloseWithError(err)
		_ = outR.CloseWithError(err)
	}()
	select {
	case <-asked:
		return s, nil
	case <-s.done:
		_, err := s.in.Read(nil)
		return nil, err
	case <-ctx.Done():
		_ = s.Close()
		return nil, fmt.Errorf("stream to node %q: %w", node, context.Cause(ctx))
	}
}

// verdict is the error that a stream ends with. A cut stream often looks like
// a command that ended well (kubernetes/kubernetes#73056), so there is no good
// end but our own Close.
func (s *stream) verdict(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	words := oneLine(string(s.stderr))
	switch {
	case s.closed:
		return net.ErrClosed
	case err == nil && words == "":
		return fmt.Errorf("stream to node %q was cut: %w", s.node, io.ErrUnexpectedEOF)
	case err == nil:
		return fmt.Errorf("stream to node %q was cut: %s: %w", s.node, words, io.ErrUnexpectedEOF)
	case words == "":
		return fmt.Errorf("stream to node %q: %w", s.node, err)
	}
	return fmt.Errorf("stream to node %q: %s: %w", s.node, words, err)
}

func (s *stream) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.Write(b) }

// Close ends the command's stdin, and with it the command.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.out.Close()
	s.cancel()
	<-s.done
	return nil
}

// announcing calls first when somebody begins to read.
type announcing struct {
	io.Reader
	first func()
}

func (a *announcing) Read(b []byte) (int, error) {
	a.first()
	return a.Reader.Read(b)
}

// lastWords keeps the last 2 KiB of a command's stderr.
type lastWords stream

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stderr = append(l.stderr, b...)
	if n := len(l.stderr); n > 2048 {
		l.stderr = append([]byte(nil), l.stderr[n-2048:]...)
	}
	return len(b), nil
}
