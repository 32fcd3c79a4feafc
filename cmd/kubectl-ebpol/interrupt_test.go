// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Ctrl-C while the API server has not answered yet is a good end, as later; and
// told twice at once, as timeout(1) does, the program still ends by itself.
func TestInterruptedUnanswered(t *testing.T) {
	both := make(chan os.Signal, 2) // the test's own, so that none ends it
	signal.Notify(both, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(both)
	release := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		<-both
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		<-release
	}))
	defer api.Close()
	defer close(release)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, []byte((&fakeAPI{Server: api}).kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	args := []string{"kubectl-ebpol", "trace", "pod", "web-1", "--probe-image", "example.invalid/probe:1", "--kubeconfig", config}
	if code := run(args, strings.NewReader(""), &out, &errOut); code != 0 || errOut.Len() > 0 {
		t.Errorf("code %d, stderr %q", code, errOut.String())
	}
}
