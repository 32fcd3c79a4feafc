// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"errors"
	"io"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// shown tells of the first bytes that the screen writes.
type shown struct{ first chan struct{} }

func (s *shown) Write(p []byte) (int, error) {
	select {
	case s.first <- struct{}{}:
	default:
	}
	return len(p), nil
}

// TestSignalsEndTheScreenOnce: whoever runs the screen hears the signal and ends
// the context. If the screen heard it too, now and then one would wait for the
// other for ever, with the shop's processes left behind: so it is tried often.
func TestSignalsEndTheScreenOnce(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for range 20 {
			ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM, syscall.SIGINT)
			in, keys := io.Pipe()
			out := &shown{make(chan struct{}, 1)}
			ended := make(chan error, 1)
			w := fake.New()
			dark := false
			go func() {
				ended <- Run(ctx, Options{Snapshots: w, Actions: w, Light: &dark, Input: in, Output: out})
			}()
			<-out.first
			if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
				t.Fatal(err)
			}
			await, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("it still runs after 20 s"))
			select {
			case err := <-ended:
				if err != nil {
					t.Fatalf("%v: %v", sig, err)
				}
			case <-await.Done():
				t.Fatalf("%v: %v", sig, context.Cause(await))
			}
			cancel()
			stop()
			_ = keys.Close()
		}
	}
}
