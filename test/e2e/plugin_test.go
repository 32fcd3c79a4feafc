// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// line is one object of the plugin's JSON Lines, as far as tests read it.
type line struct {
	Type      string `json:"type"`
	Node      string `json:"node"`
	Direction string `json:"direction"`
	Subject   string `json:"subject"`
	Protocol  string `json:"protocol"`
	Source    end    `json:"source"`
	Dest      end    `json:"destination"`
	Verdict   string `json:"verdict"`
	Candidate string `json:"candidate"`
	Enforced  bool   `json:"enforced"`
	Guess     bool   `json:"openerUnknown"`
	Rule      *rule  `json:"rule"`
	CandRule  *rule  `json:"candidateRule"`
	Reason    string `json:"reason"`
	Location  string `json:"location"`

	raw string
	at  time.Time
}

type end struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	IP        string `json:"ip"`
	Port      int    `json:"port"`
	Service   any    `json:"service"`
	Node      string `json:"node"`
}

type rule struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (l line) String() string { return l.raw }

// run is the plugin at work.
type run struct {
	t     testing.TB
	cmd   *exec.Cmd
	start time.Time

	mu     sync.Mutex
	lines  []line
	more   chan struct{} // closed at the next line or the end
	ended  bool
	stderr bytes.Buffer
	err    error
}

// plugin starts `kubectl ebpol ARGS -o json` as a user would and checks, at
// the end of the test, that nothing of it is left.
func plugin(t testing.TB, args ...string) *run { return pluginAs(t, env.kubeconfig, args...) }

func pluginAs(t testing.TB, kubeconfig string, args ...string) *run {
	t.Helper()
	args = append(args, "--probe-image="+env.image)
	r := &run{t: t, more: make(chan struct{}), start: time.Now()}
	r.cmd = exec.Command(env.plugin, args...)
	r.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = &locked{r: r}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go r.read(out)
	t.Cleanup(func() {
		r.interrupt()
		if t.Failed() {
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Logf("%s\nstderr:\n%s\nlast lines:", strings.Join(r.cmd.Args, " "), tail(r.stderr.String(), 8000))
			for _, l := range r.lines[max(0, len(r.lines)-20):] {
				t.Log(l.raw)
			}
		}
	})
	return r
}

func (r *run) read(out io.Reader) {
	for text := range scan(context.Background(), io.NopCloser(out)) {
		l := line{raw: text, at: time.Now()}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			l.Type = "not JSON"
		}
		r.change(func() { r.lines = append(r.lines, l) })
	}
	err := r.cmd.Wait()
	r.change(func() { r.ended, r.err = true, err })
}

func (r *run) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.more)
	r.more = make(chan struct{})
}

// await returns the first line, of all so far and to come, that fits.
func (r *run) await(limit time.Duration, what string, fits func(line) bool) line {
	r.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for i := 0; ; {
		r.mu.Lock()
		fresh, more, ended, err := r.lines[i:], r.more, r.ended, r.err
		i = len(r.lines)
		r.mu.Unlock()
		for _, l := range fresh {
			if fits(l) {
				return l
			}
		}
		if ended {
			r.t.Fatalf("the plugin ended (%v) without %s", err, what)
		}
		select {
		case <-more:
		case <-deadline.C:
			r.t.Fatalf("no %s within %s", what, limit)
		}
	}
}

// says waits until the plugin has written a word at the beginning of a line of
// its stderr.
func (r *run) says(word string, limit time.Duration) {
	r.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		text, more, ended, err := "\n"+r.stderr.String(), r.more, r.ended, r.err
		r.mu.Unlock()
		if strings.Contains(text, "\n"+word) {
			return
		}
		if ended {
			r.t.Fatalf("the plugin ended (%v) without saying %q: %s", err, word, text)
		}
		select {
		case <-more:
		case <-deadline.C:
			r.t.Fatalf("the plugin doesn't say %q within %s", word, limit)
		}
	}
}

// all returns the lines so far that fit.
func (r *run) all(fits func(line) bool) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []line
	for _, l := range r.lines {
		if fits(l) {
			got = append(got, l)
		}
	}
	return got
}

// wait returns how the plugin ended, and what it said on stderr.
func (r *run) wait(limit time.Duration) (stderr string, err error) {
	r.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		ended, err, more, text := r.ended, r.err, r.more, r.stderr.String()
		r.mu.Unlock()
		if ended {
			return text, err
		}
		select {
		case <-more:
		case <-deadline.C:
			r.t.Fatalf("the plugin did not end within %s", limit)
		}
	}
}

// interrupt is Ctrl-C: the plugin ends well, and soon.
func (r *run) interrupt() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); errors.Is(err, os.ErrProcessDone) {
		_, _ = r.wait(time.Second)
		return
	}
	_, _ = r.wait(20 * time.Second)
}

// kill is kill -9.
func (r *run) kill() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_, _ = r.wait(10 * time.Second)
}

// locked is stderr, readable while it is written.
type locked struct{ r *run }

func (l *locked) Write(b []byte) (int, error) {
	l.r.change(func() { l.r.stderr.Write(b) })
	return len(b), nil
}

// refused runs the plugin, which must fail within limit and say each of words.
func refused(t testing.TB, limit time.Duration, args []string, words ...string) time.Duration {
	t.Helper()
	r := plugin(t, args...)
	text, err := r.wait(slack * limit)
	took := time.Since(r.start)
	if err == nil {
		t.Errorf("%v ended well", args)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%v: stderr lacks %q:\n%s", args, w, text)
		}
	}
	target(limit).log(t, fmt.Sprintf("refusal of %v", args), took)
	return took
}

// scan is r by lines, until it ends or ctx does.
func scan(ctx context.Context, r io.ReadCloser) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		defer r.Close()
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			select {
			case out <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// once runs the plugin to its good end and returns all it said.
func once(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(env.plugin, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}
