// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
	"github.com/ebpol/kubectl-ebpol/probe/serve/servetest"
)

// started is one run of the program with pipes for its streams.
type started struct {
	in     *io.PipeWriter
	out    *io.PipeReader
	errOut *bytes.Buffer
	code   chan int
}

func start(fake *servetest.Fake, args ...string) *started {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := &started{in: inW, out: outR, errOut: &bytes.Buffer{}, code: make(chan int, 1)}
	p := &program{in: inR, out: outW, errOut: s.errOut, open: func(string) (serve.Probe, error) {
		if fake == nil {
			return nil, errors.New("this kernel has no BPF")
		}
		return fake, nil
	}, features: func() (serve.Facts, bool, error) {
		f := servetest.New().Facts()
		f.Features = append(f.Features, &wire.Feature{Name: "btf", Why: "no type information"})
		return f, fake != nil, nil
	}}
	go func() {
		code := p.main(args)
		outW.Close()
		s.code <- code
	}()
	return s
}

func (s *started) hello(t *testing.T) *wire.Frame {
	t.Helper()
	if err := wire.NewWriter(s.in).Write(&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: 1, Session: "s"}}}); err != nil {
		t.Fatal(err)
	}
	f, err := wire.NewReader(s.out).Read()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRunAndConnect(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "probe.sock")
	fake := servetest.New()
	run := start(fake, "run", "--socket", socket, "--node", "n7")
	first := start(nil, "connect", "--socket", socket) // waits for the socket
	if f := first.hello(t); f.GetHello().GetNode() != "n7" {
		t.Errorf("hello: %v", f)
	}
	st, err := os.Stat(socket)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", st, err)
	}
	dir, err := os.Stat(filepath.Dir(socket))
	if err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v %v, want mode 0700", dir, err)
	}
	again := start(servetest.New(), "run", "--socket", socket)
	if code := <-again.code; code != exitError || !strings.Contains(again.errOut.String(), "listens on") {
		t.Errorf("a second run: exit %d, %s", code, again.errOut)
	}
	// The plugin ends its side: connect ends well, the probe stays.
	first.in.Close()
	go io.Copy(io.Discard, first.out)
	if code := <-first.code; code != exitOK {
		t.Errorf("connect after the plugin's end: exit %d, %s", code, first.errOut)
	}
	second := start(nil, "connect", "--socket", socket)
	second.hello(t)
	go io.Copy(io.Discard, second.out)
	if err := wire.NewWriter(second.in).Write(&wire.Frame{Body: &wire.Frame_Bye{Bye: &wire.Bye{}}}); err != nil {
		t.Fatal(err)
	}
	if code := <-run.code; code != exitOK || fake.Closed() != 1 {
		t.Errorf("run after a bye: exit %d, %s; closed %d times", code, run.errOut, fake.Closed())
	}
	if code := <-second.code; code != exitCut {
		t.Errorf("connect after the probe's end: exit %d, want %d", code, exitCut)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestRunReplacesADeadSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "probe.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	run := start(servetest.New(), "run", "--socket", socket)
	c := start(nil, "connect", "--socket", socket)
	c.hello(t)
	go io.Copy(io.Discard, c.out)
	if err := wire.NewWriter(c.in).Write(&wire.Frame{Body: &wire.Frame_Bye{Bye: &wire.Bye{}}}); err != nil {
		t.Fatal(err)
	}
	if code := <-run.code; code != exitOK {
		t.Errorf("exit %d, %s", code, run.errOut)
	}
	<-c.code
}

func TestStdio(t *testing.T) {
	fake := servetest.New()
	run := start(fake, "run", "--stdio", "--node", "here")
	if f := run.hello(t); f.GetHello().GetNode() != "here" {
		t.Errorf("hello: %v", f)
	}
	go io.Copy(io.Discard, run.out)
	run.in.Close()
	if code := <-run.code; code != exitOK || fake.Closed() != 1 {
		t.Errorf("exit %d, %s; closed %d times", code, run.errOut, fake.Closed())
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "usage:"},
		{[]string{"dance"}, exitUsage, `"dance"`},
		{[]string{"run", "--linger", "-1s"}, exitUsage, "--linger"},
		{[]string{"run", "extra"}, exitUsage, `"extra"`},
		{[]string{"run", "--nope"}, exitUsage, "nope"},
		{[]string{"run", "--stdio"}, exitError, "no BPF"},
		{[]string{"check", "-o", "yaml"}, exitUsage, `"yaml"`},
		{[]string{"connect", "--within", "1ms", "--socket", "/nonexistent/x"}, exitNone, "no probe listens"},
	} {
		s := start(nil, c.args...)
		go io.Copy(io.Discard, s.out)
		if code := <-s.code; code != c.code || !strings.Contains(s.errOut.String(), c.says) {
			t.Errorf("%q: exit %d, %q; want %d and %q", c.args, code, s.errOut, c.code, c.says)
		}
	}
}

func TestCheck(t *testing.T) {
	s := start(servetest.New(), "check")
	out, _ := io.ReadAll(s.out)
	if code := <-s.code; code != exitOK || !strings.Contains(string(out), "kernel 6.18.0-fake\nyes  tcx") || !strings.Contains(string(out), "no   btf") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	s = start(nil, "check", "-o", "json")
	out, _ = io.ReadAll(s.out)
	var r checkReport
	if err := json.Unmarshal(out, &r); err != nil || r.Enough || len(r.Features) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	if code := <-s.code; code != exitError || !strings.Contains(s.errOut.String(), "can't be observed") {
		t.Errorf("exit %d, %s", code, s.errOut)
	}
}
