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
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/version"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// run owns the BPF programs until the context, the plugin, or the lack of one
// ends it.
func (p *program) run(ctx context.Context, args []string) error {
	flags := p.flags("run")
	socket := flags.String("socket", wire.SocketPath, "`path` of the unix socket to listen on")
	stdio := flags.Bool("stdio", false, "serve stdin and stdout instead, and end with them")
	node := flags.String("node", os.Getenv("NODE_NAME"), "`name` of this node")
	session := flags.String("session", os.Getenv("EBPOL_SESSION"), "the only `session` to serve; empty: that of the first plugin")
	linger := flags.Duration("linger", serve.DefaultLinger, "how long to live without a plugin")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *linger <= 0 {
		return &coded{exitUsage, fmt.Errorf("--linger %s: give a duration above 0, such as 60s", *linger)}
	}
	if *node == "" {
		*node, _ = os.Hostname()
	}
	// Frames are short-lived garbage beside a small heap: collecting more often
	// keeps the pod small, and costs little.
	debug.SetGCPercent(25)
	// One processor is what a guest on a node may take, and waking up costs half
	// as much where nobody else is woken to look for work.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	// A plugin that is gone is an error of the next write, not the end of the
	// process before it has cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	in, out := p.in, p.out
	if *stdio && in == os.Stdin {
		// Ctrl-C on a terminal reaches the child too; the plugin ends it.
		signal.Ignore(syscall.SIGINT)
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
			return fmt.Errorf("ask to end with the parent: %w", err)
		}
		in, out = pollable(0, "stdin"), pollable(1, "stdout")
	}
	var l net.Listener
	if !*stdio {
		var err error
		if l, err = listen(*socket); err != nil {
			return err
		}
	}
	kernel, err := p.open(*session)
	if err != nil {
		if l != nil {
			_ = l.Close()
		}
		return err
	}
	tidying, enough := context.WithCancel(ctx)
	defer enough()
	go tidy(tidying)
	s := serve.New(kernel, serve.Options{Program: "ebpol-probe " + version.String(), Node: *node, Session: *session, Linger: *linger})
	if *stdio {
		return s.ServeConn(ctx, &joined{in, out})
	}
	return s.Serve(ctx, l)
}

// listen makes the socket, for its owner alone.
func listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder %q of the socket: %w", dir, err)
	}
	// An emptyDir is open to every user of the pod's containers.
	if st, err := os.Stat(dir); err == nil && dir == wire.SocketDir && st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder
			return nil, fmt.Errorf("folder %q of the socket is open to others: %w", dir, err)
		}
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("a probe listens on %q already: end it, or give another --socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the socket of an earlier probe: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return l, nil
}

// joined is stdin and stdout as one stream.
type joined struct {
	io.ReadCloser
	out io.WriteCloser
}

func (j *joined) Write(b []byte) (int, error) { return j.out.Write(b) }

func (j *joined) Close() error { return errors.Join(j.out.Close(), j.ReadCloser.Close()) }

// pollable makes a pipe on a standard descriptor one whose reads end when it
// is closed.
func pollable(fd int, name string) *os.File {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && (st.Mode&unix.S_IFMT == unix.S_IFIFO || st.Mode&unix.S_IFMT == unix.S_IFSOCK) {
		_ = unix.SetNonblock(fd, true)
	}
	return os.NewFile(uintptr(fd), name) //nolint:gosec // 0 or 1
}
