// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// unified is where cgroups of version 2 are.
func unified(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	dir := filepath.Join(t.TempDir(), "cgroup2") // the virtual machine's init mounts none
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	return dir
}

// TestMain's process in another cgroup: it connects to the address, says a
// line, waits for one, and ends when its input does.
func talker(addr string) {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_, err = fmt.Fprintln(c, "hello from a pod on the host's network")
	}
	if err == nil {
		_, err = bufio.NewReader(c).ReadString('\n')
	}
	fmt.Println("said:", err)
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// talks starts a talker in a cgroup, and in a namespace unless that is nil, and
// returns when it has said and heard its line.
func talks(t *testing.T, cgroup string, in *netbed.Namespace, addr string) (end func()) {
	t.Helper()
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHostNetwork$")
	cmd.Env = append(os.Environ(), "EBPOL_TEST_TALKER="+addr)
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := cmd.Start
	if in != nil {
		start = func() error { return in.Do(cmd.Start) }
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "said: <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return func() {
		input.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// answers takes one connection and says a line after it has heard one.
func answers(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	_, _ = bufio.NewReader(c).ReadString('\n')
	_, _ = fmt.Fprintln(c, "hello")
}

// TestHostNetworkToService: on its way to a service a packet has the backend's
// address and another port by the time that it is seen, and the answer has the
// service's again. It is one connection, to the service, and was answered.
func TestHostNetworkToService(t *testing.T) {
	k := open(t, kernel.Options{})
	cgroup := filepath.Join(unified(t), fmt.Sprintf("ebpol-test-%d-service", os.Getpid()))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(cgroup) })
	h, err := k.AttachHost(cgroup, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	bed := testkit.NewBed(t)
	a, b := bed.Pod("a"), bed.Pod("b")
	for i, service := range []string{"10.96.0.80", "fd96::80"} {
		family := []string{"ip", "ip6"}[i]
		backend := netip.AddrPortFrom(b.IPs[i], 8080)
		if err := a.Do(func() error {
			out, err := exec.Command("nft", fmt.Sprintf(`table %[1]s proxy {
				chain out { type nat hook output priority -100; %[1]s daddr %[2]s tcp dport 80 dnat to %[3]s; };
				chain post { type nat hook postrouting priority 100; masquerade random; };
			}`, family, service, backend)).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		go answers(bed.Listen(b, "tcp", backend))
		end := talks(t, cgroup, a.Namespace, netip.AddrPortFrom(netip.MustParseAddr(service), 80).String())
		var got []kernel.Record
		if err := k.Scan(true, func(r *kernel.Record) {
			if r.Local.Is6() == (i == 1) {
				got = append(got, *r)
			}
		}); err != nil {
			t.Fatal(err)
		}
		end()
		if len(got) != 1 || got[0].Peer.String() != service || got[0].PeerPort != 80 || got[0].Conn.Direction != uint8(flow.Egress) || got[0].Conn.AnswerNs == 0 {
			t.Errorf("to %s: %+v", service, got)
		}
	}
}

// TestHostNetwork observes a process by its cgroup, with everything but a
// verdict, and nobody else.
func TestHostNetwork(t *testing.T) {
	if addr := os.Getenv("EBPOL_TEST_TALKER"); addr != "" {
		talker(addr)
		os.Exit(0)
	}
	k := open(t, kernel.Options{})
	cgroup := filepath.Join(unified(t), fmt.Sprintf("ebpol-test-%d", os.Getpid()))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(cgroup) })
	h, err := k.AttachHost(cgroup, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.ReadHeads(true); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go answers(l)
	end := talks(t, cgroup, nil, l.Addr().String())
	var got []kernel.Record
	if err := k.Scan(true, func(r *kernel.Record) { got = append(got, *r) }); err != nil {
		t.Fatal(err)
	}
	end()
	if len(got) != 1 {
		t.Fatalf("%d connections, want the one of the cgroup: %+v", len(got), got)
	}
	r := got[0]
	if !r.Is(bpf.FlowConnFlagsCONN_NOT_JUDGED) || r.Conn.Endpoint != 7 || r.Conn.Direction != uint8(flow.Egress) || r.Conn.Judgement.Verdict != 0 {
		t.Errorf("%+v", r)
	}
	if r.Local != r.Peer || int(r.PeerPort) != l.Addr().(*net.TCPAddr).Port || r.Conn.Packets[0] < 2 || r.Conn.Packets[1] < 3 ||
		r.Conn.Bytes[1] < 40*3 || r.Conn.AnswerNs == 0 || r.Conn.FirstByteNs <= r.Conn.AnswerNs {
		t.Errorf("%+v", r)
	}
	heads, records := read(t, k, 1)
	if string(heads[0].Data) != "hello from a pod on the host's network\n" || !heads[0].Opener {
		t.Errorf("%+v", heads)
	}
	if len(records) == 0 || records[0].Kind != kernel.New || records[0].Conn.Id != r.Conn.Id {
		t.Errorf("%+v", records)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	reason := ""
	if err := k.Scan(false, func(r *kernel.Record) { reason = r.Reason }); err != nil || reason != "pod gone" {
		t.Errorf("closed because of %q, %v", reason, err)
	}
}
