// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// startWithin is how long connect waits for a probe that is still loading.
const startWithin = 10 * time.Second

// connect joins stdin and stdout to a probe's socket. It ends well if the
// plugin ended first, and with a code of its own if the probe did: whoever
// sees the exit code alone can tell.
func (p *program) connect(ctx context.Context, args []string) error {
	flags := p.flags("connect")
	socket := flags.String("socket", wire.SocketPath, "`path` of the probe's unix socket")
	within := flags.Duration("within", startWithin, "how long to wait for the probe to listen")
	if err := parse(flags, args); err != nil {
		return err
	}
	c, err := dial(ctx, *socket, *within)
	if err != nil {
		return &coded{exitNone, fmt.Errorf("no probe listens on %q: %w", *socket, err)}
	}
	defer c.Close()

	up := make(chan struct{})
	var ended atomic.Bool // the plugin's side
	go func() {
		_, err := io.Copy(c, p.in)
		ended.Store(err == nil)
		_ = c.CloseWrite() // what the probe still has to say comes through
		close(up)
	}()
	down := make(chan error, 1)
	go func() {
		_, err := io.Copy(p.out, c)
		down <- err
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-up:
		select {
		case err = <-down:
		case <-time.After(time.Second):
		}
	case err = <-down:
	}
	if ended.Load() || errors.Is(err, syscall.EPIPE) { // EPIPE: nobody reads any more
		return nil
	}
	return &coded{exitCut, errors.New("the probe ended the stream")}
}

// dial waits until a probe listens.
func dial(ctx context.Context, path string, within time.Duration) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var d net.Dialer
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		c, err := d.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}
