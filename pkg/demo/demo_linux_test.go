// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
)

// The test binary plays the pods and, for the kill test, the whole plugin.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case PodCommand:
			exit(RunPod(context.Background(), os.Stdin, os.Stdout))
		case "whole-demo":
			exit(wholeDemo())
		}
	}
	testkit.Main(m)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// wholeDemo prints a process and a namespace a line, then waits to be killed.
func wholeDemo() error {
	r, err := Start(context.Background(), os.Args[0], Shop())
	if err != nil {
		return err
	}
	for _, p := range r.pods {
		inode, err := p.pod.Inode()
		if err != nil {
			return err
		}
		fmt.Println(p.cmd.Process.Pid, inode)
	}
	fmt.Println("up")
	select {}
}

func start(t *testing.T) *Running {
	t.Helper()
	testkit.NeedsRoot(t)
	r, err := Start(t.Context(), os.Args[0], Shop())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range r.Notes() {
		t.Log(n)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// in dials from a pod. Silence is known by the timeout alone, so it must be
// long enough for whoever answers on a busy machine.
func (r *Running) in(key, network, addr string) error {
	return r.pods[key].pod.Do(func() error {
		c, err := net.DialTimeout(network, addr, 3*time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func TestShopWorks(t *testing.T) {
	r := start(t)
	if len(r.Notes()) > 0 {
		t.Fatalf("this kernel can't do all of the demo: %q", r.Notes())
	}
	db := r.cast.Actor("shop/db-0")
	for i, svc := range []string{"10.96.0.23:5432", "[fd96::23]:5432"} {
		pod := netip.AddrPortFrom(db.IPs[i], 5432).String()
		if err := r.in("shop/orders-58b4d-kx9fs", "tcp", pod); err != nil {
			t.Errorf("orders to the database: %v", err)
		}
		if err := r.in("shop/orders-58b4d-kx9fs", "tcp", svc); err != nil {
			t.Errorf("orders to the database's service: %v", err)
		}
		err := r.in("default/intruder", "tcp", pod)
		if forgotten := db.IPs[i].Is6(); forgotten && err != nil || !forgotten && !isTimeout(err) {
			t.Errorf("intruder to the database at %s: %v, want silence on IPv4 and an answer on IPv6", pod, err)
		}
		if err := r.in("default/intruder", "tcp", netip.AddrPortFrom(r.cast.Actor("shop/cart-84c7f-m5d2x").IPs[i], 22).String()); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("intruder to a closed port: %v, want refused", err)
		}
	}
	for _, svc := range r.cast.Services {
		if svc.Protocol.String() != "TCP" {
			continue
		}
		for _, ip := range svc.IPs {
			for range 4 { // every backend gets its turn
				if err := r.in("edge/gateway-7f6b9-8hq2n", "tcp", netip.AddrPortFrom(ip, svc.Port).String()); err != nil {
					t.Errorf("service %s/%s at %s: %v", svc.Namespace, svc.Name, ip, err)
				}
			}
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// TestTrafficFlows waits until each pod that calls somebody has sent a lot.
func TestTrafficFlows(t *testing.T) {
	r := start(t)
	for _, a := range r.cast.Actors {
		p := r.pods[a.Key()]
		for {
			l, err := p.pod.Netlink().LinkByIndex(p.pod.Index)
			if err != nil {
				t.Fatal(err)
			}
			if s := l.Attrs().Statistics; s.TxPackets > 20 {
				break
			}
			select {
			case <-p.exited:
				t.Fatalf("pod %s ended: %s", a.Key(), p.stderr)
			case <-t.Context().Done():
				t.Fatalf("pod %s is silent", a.Key())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// TestKilledDemoLeavesNothing kills the plugin the hard way.
func TestKilledDemoLeavesNothing(t *testing.T) {
	testkit.NeedsRoot(t)
	cmd := exec.Command(os.Args[0], "whole-demo")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids, inodes []string
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "up"; {
		pid, inode, _ := strings.Cut(s.Text(), " ")
		pids, inodes = append(pids, pid), append(inodes, inode)
	}
	if len(pids) != len(Shop().Actors) {
		t.Errorf("%d pods are up, want %d", len(pids), len(Shop().Actors))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for _, pid := range pids {
		for alive(pid) {
			select {
			case <-t.Context().Done():
				t.Fatalf("process %s outlives the demo", pid)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	used, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, u := range used {
		to, _ := os.Readlink(u)
		for _, inode := range inodes {
			if to == "net:["+inode+"]" {
				t.Errorf("%s still holds a namespace of the demo", u)
			}
		}
	}
}

// alive says whether a process runs; a zombie waiting for init to reap it doesn't.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
