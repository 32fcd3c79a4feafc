// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
)

// remote is the far end of an exec.
type remote func(ctx context.Context, o remotecommand.StreamOptions) error

func (r remote) Stream(o remotecommand.StreamOptions) error { return r(context.Background(), o) }

func (r remote) StreamWithContext(ctx context.Context, o remotecommand.StreamOptions) error {
	return r(ctx, o)
}

// cat answers what it is sent, until its end or the stream's.
func cat(ctx context.Context, o remotecommand.StreamOptions) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(o.Stdout, o.Stdin)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestStream(t *testing.T) {
	s, err := dial(t.Context(), remote(cat), "n1")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(s, "hello") }()
	b := make([]byte, 5)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, error %v", b, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A stream that ends without us is an error, however well it pretends to end,
// with the command's last words.
func TestCut(t *testing.T) {
	for name, tc := range map[string]struct {
		remote remote
		want   string
		is     error
	}{
		"exit 0": {func(_ context.Context, o remotecommand.StreamOptions) error {
			_, err := io.ReadFull(o.Stdin, make([]byte, 1))
			return err
		}, "was cut", io.ErrUnexpectedEOF},
		"words": {func(_ context.Context, o remotecommand.StreamOptions) error {
			_, _ = io.WriteString(o.Stderr, "no probe \x1b]0;owned\alistens\n")
			_, err := io.ReadFull(o.Stdin, make([]byte, 1))
			return err
		}, "no probe ]0;owned listens", io.ErrUnexpectedEOF},
		"reset": {func(_ context.Context, o remotecommand.StreamOptions) error {
			_, _ = io.ReadFull(o.Stdin, make([]byte, 1))
			return errors.New("connection reset")
		}, "connection reset", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := dial(t.Context(), tc.remote, "n1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			_, err = s.Read(make([]byte, 1))
			if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if _, err := s.Write([]byte{1}); err == nil {
				t.Error("a cut stream takes more")
			}
		})
	}
}

// What refuses the stream is dial's error, and ctx ends a dial.
func TestNoStream(t *testing.T) {
	refuses := remote(func(context.Context, remotecommand.StreamOptions) error { return forbidden("exec is forbidden") })
	if _, err := dial(t.Context(), refuses, "n1"); err == nil || !strings.Contains(err.Error(), "exec is forbidden") {
		t.Errorf("got %v", err)
	}
	hangs := remote(func(ctx context.Context, _ remotecommand.StreamOptions) error { <-ctx.Done(); return ctx.Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dial(ctx, hangs, "n1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
