// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sys/unix"
)

// dialTimeout: what is allowed answers in milliseconds, on a busy machine in
// hundreds of them.
const dialTimeout = 1500 * time.Millisecond

// dial is one connection and what is expected of it.
type dial struct {
	job     *probe.Job
	address string
	want    bool
}

// spaces are the pods' network namespaces, by pod.
type spaces map[string]*os.File

func (s spaces) close() {
	for _, f := range s {
		f.Close()
	}
}

// enter opens the network namespaces of all pods. A pod's processes are those
// in a cgroup named after its UID: other clusters on this machine may have the
// same addresses.
func (c *cluster) enter(t *testing.T, r *probe.Resources) spaces {
	t.Helper()
	pids := map[string]string{}
	for _, ns := range r.NamespacesSlice() {
		list, err := c.api.ClientSet.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Items {
			pids[string(p.UID)] = p.Namespace + "/" + p.Name
		}
	}
	out := spaces{}
	entries, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range entries {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		_, rest, found := strings.Cut(string(b), "/pod")
		if !found || len(rest) < 36 {
			continue
		}
		pod := pids[rest[:36]]
		if pod == "" || out[pod] != nil {
			continue
		}
		if f, err := os.Open(filepath.Join(filepath.Dir(path), "ns/net")); err == nil {
			out[pod] = f
		}
	}
	for _, p := range r.Pods {
		if out[p.Namespace+"/"+p.Name] == nil {
			t.Fatalf("no process of pod %s/%s is on this machine: run this where the nodes are", p.Namespace, p.Name)
		}
	}
	return out
}

// dial makes all connections at once and names those that went otherwise;
// open: one of them connected that should not have.
func (s spaces) dial(dials []*dial) (wrong []string, open bool) {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
	)
	for _, d := range dials {
		wait.Go(func() {
			err := s.connect(d)
			if (err == nil) == d.want {
				return
			}
			words := "connected"
			if err != nil {
				words = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			open = open || err == nil
			wrong = append(wrong, fmt.Sprintf("%s to %s %s %d: expected allowed=%t, %s", d.job.FromKey, d.job.ToKey, d.job.Protocol, d.job.ResolvedPort, d.want, words))
		})
	}
	wait.Wait()
	return wrong, open
}

func (s spaces) connect(d *dial) error {
	// The thread ends with this goroutine, so it need not come back.
	runtime.LockOSThread()
	if err := unix.Setns(int(s[d.job.FromNamespace+"/"+d.job.FromPod].Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	network := strings.ToLower(string(d.job.Protocol))
	if network == "sctp" {
		return sctpConnect(net.ParseIP(d.address), d.job.ResolvedPort)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(d.address, strconv.Itoa(d.job.ResolvedPort)))
	if err != nil {
		return err
	}
	defer c.Close()
	if network == "tcp" {
		return nil
	}
	if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("hostname\n")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 256))
	return err
}

// sctpConnect is a one-to-one association; the time limit is the socket's.
func sctpConnect(ip net.IP, port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(dialTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: port}
	copy(to.Addr[:], ip.To4())
	return unix.Connect(fd, to)
}
