// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// actor is a process of a test: it does what its arguments say on each line
// that it reads, and says so.
func actor(what string) {
	kind, at, _ := strings.Cut(what, " ")
	in := bufio.NewScanner(os.Stdin)
	// Threads have names of their own; who asks for the owner means the process.
	runtime.LockOSThread()
	name := [16]byte{'w', 'o', 'r', 'k', 'e', 'r'}
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0, 0, 0); err != nil || unix.Gettid() == os.Getpid() {
		fmt.Println("no thread with a name of its own:", err)
		return
	}
	fmt.Println("ready")
	for in.Scan() {
		switch kind {
		case "listen":
			l, err := net.Listen("tcp", at)
			fmt.Println("listens", err)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { _, _ = io.Copy(c, c) }()
				}
			}()
		case "dial":
			c, err := net.DialTimeout("tcp", at, 3*time.Second)
			if err == nil {
				_, err = c.Write([]byte(in.Text()))
			}
			fmt.Println("dialled", err)
		case "send":
			c, err := net.Dial("udp", at)
			if err == nil {
				_, err = c.Write([]byte("hello"))
			}
			fmt.Println("sent", err)
		case "answer":
			c, err := net.ListenPacket("udp", at)
			fmt.Println("listens", err)
			go func() {
				for b := make([]byte, 64); err == nil; {
					var n int
					var to net.Addr
					if n, to, err = c.ReadFrom(b); err == nil {
						_, err = c.WriteTo(b[:n], to)
					}
				}
			}()
		}
	}
}

type running struct {
	*exec.Cmd
	in   io.Writer
	out  *bufio.Scanner
	name string // as /proc tells it
}

// spawn starts an actor in a pod; it ends with the test.
func spawn(t *testing.T, pod *netbed.Pod, what string) *running {
	t.Helper()
	r := &running{Cmd: exec.Command("/proc/self/exe")}
	r.Env = append(os.Environ(), "EBPOL_TEST_ACTOR="+what)
	in, err := r.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.in, r.out = in, bufio.NewScanner(out)
	if err := pod.Do(r.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = r.Process.Kill()
		_ = r.Wait()
	})
	r.says(t, "ready")
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	r.name = strings.TrimSpace(string(name))
	return r
}

func (r *running) says(t *testing.T, want string) {
	t.Helper()
	if !r.out.Scan() || !strings.HasPrefix(r.out.Text(), want) {
		t.Fatalf("the process said %q, want %q", r.out.Text(), want)
	}
}

func (r *running) do(t *testing.T, want string) {
	t.Helper()
	if _, err := io.WriteString(r.in, "GET /cart?secret=1 HTTP/1.1\n"); err != nil {
		t.Fatal(err)
	}
	if want != "" {
		r.says(t, want)
	}
}

func owned(f *wire.Flow, by *running) bool {
	return f != nil && f.GetOwner().GetPid() == uint32(by.Process.Pid) && f.GetOwner().GetCommand() == by.name && //nolint:gosec // a pid
		strings.HasPrefix(f.GetOwner().GetExecutable(), "/")
}

// owned says whether a flow at the endpoint is that process's.
func (s *sink) owned(endpoint uint32, by *running) bool {
	for _, f := range s.flows {
		if f.GetEndpoint() == endpoint && owned(f, by) {
			return true
		}
	}
	return false
}

func owners(t *testing.T, p *probe.Probe) {
	t.Helper()
	if err := p.SetOptions(&wire.Options{Owners: true, Names: true, TickNs: int64(100 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
}

// sendingIsTraced is nil if the kernel tells of each sending: what fails of
// datagrams is known by that alone.
func sendingIsTraced() error {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	var point *btf.Typedef
	if err := spec.TypeByName("btf_trace_sock_send_length", &point); errors.Is(err, btf.ErrNotFound) {
		return fmt.Errorf("%w: what fails of datagrams needs Linux 6.3: there is no tracepoint sock_send_length", errors.ErrUnsupported)
	} else if err != nil {
		return err
	}
	return nil
}

func TestOwnersOfBothEnds(t *testing.T) {
	for i, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			p, s, _, pods := start(t, probe.Options{})
			owners(t, p)
			server := spawn(t, pods[1], "listen "+at(pods[1], i, 8080).String())
			server.do(t, "listens <nil>")
			client := spawn(t, pods[0], "dial "+at(pods[1], i, 8080).String())
			client.do(t, "dialled <nil>")
			s.await(t, "owners of both ends", func() bool {
				return owned(s.find(1, flow.Egress, flow.TCP, 8080), client) && owned(s.find(2, flow.Ingress, flow.TCP, 8080), server)
			})
			u := spawn(t, pods[0], "send "+at(pods[1], i, 9).String())
			u.do(t, "sent <nil>")
			s.await(t, "the sender of a datagram", func() bool { return owned(s.find(1, flow.Egress, flow.UDP, 9), u) })
		})
	}
}

// TestSendersWhileNobodyListens: datagrams are looked at only while pods speak
// UDP. Who begins to is known nevertheless, whether its socket is connected, was
// there before, or answers; and it is told from others that had the port before.
func TestSendersWhileNobodyListens(t *testing.T) {
	for i, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			p, s, _, pods := start(t, probe.Options{})
			owners(t, p)
			if p.Listens() {
				t.Fatal("nobody speaks UDP")
			}
			server := spawn(t, pods[1], "answer "+at(pods[1], i, 9).String())
			server.do(t, "listens <nil>")
			for range 3 {
				u := spawn(t, pods[0], "send "+at(pods[1], i, 9).String())
				u.do(t, "sent <nil>")
				s.await(t, "who sends", func() bool {
					return s.owned(1, u)
				})
				until(t, "who answers", func() bool {
					p.Resend() // it wasn't known yet when the question came
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.owned(2, server)
				})
				if sendingIsTraced() == nil && !p.Listens() {
					t.Fatal("nobody listens, and pods speak")
				}
				until(t, "silence", func() bool {
					if err := p.NobodySpoke(); err != nil {
						t.Fatal(err)
					}
					return !p.Listens()
				})
			}
		})
	}
}

// TestOwnersOfWhatWasOpenBefore: sockets that were there first are looked up.
func TestOwnersOfWhatWasOpenBefore(t *testing.T) {
	p, s, _, pods := start(t, probe.Options{})
	server := spawn(t, pods[1], "listen "+at(pods[1], 0, 8080).String())
	server.do(t, "listens <nil>")
	before := spawn(t, pods[0], "dial "+at(pods[1], 0, 8080).String())
	before.do(t, "dialled <nil>")
	owners(t, p)
	after := spawn(t, pods[0], "dial "+at(pods[1], 0, 8080).String())
	after.do(t, "dialled <nil>")
	p.Resend()
	s.await(t, "owners of old and new connections", func() bool {
		var seen [3]bool
		for _, f := range s.flows {
			seen[0] = seen[0] || f.GetEndpoint() == 1 && owned(f, before)
			seen[1] = seen[1] || f.GetEndpoint() == 1 && owned(f, after)
			seen[2] = seen[2] || f.GetEndpoint() == 2 && owned(f, server)
		}
		return seen == [3]bool{true, true, true}
	})
}

// TestOwnerOfWhatIsNeverAnswered: two processes knock where nobody answers;
// each is told from the other by its repeats, which are counted.
func TestOwnerOfWhatIsNeverAnswered(t *testing.T) {
	p, s, _, pods := start(t, probe.Options{})
	owners(t, p)
	r := denyIngress(1, pods, true, true, true)
	apply(t, p, nil, r)
	if err := p.SetLease(patience); err != nil {
		t.Fatal(err)
	}
	one := spawn(t, pods[0], "dial "+at(pods[1], 0, 8080).String())
	two := spawn(t, pods[0], "dial "+at(pods[1], 0, 8080).String())
	one.do(t, "")
	two.do(t, "")
	s.await(t, "both owners, with repeats", func() bool {
		found := 0
		for _, f := range s.flows {
			if f.GetEndpoint() == 1 && f.GetRetransmits() > 0 && (owned(f, one) || owned(f, two)) {
				found++
			}
		}
		return found == 2
	})
	one.says(t, "dialled")
	two.says(t, "dialled")
}

func TestOffMeansNoOwners(t *testing.T) {
	_, s, bed, pods := start(t, probe.Options{})
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	c := bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	s.await(t, "the connection", func() bool {
		f := s.find(1, flow.Egress, flow.TCP, 8080)
		return f.GetFirstByteNs() > 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flows {
		if f.GetOwner() != nil || f.GetRequest() != nil {
			t.Errorf("told though nobody asked: %v", f)
		}
	}
}

func TestRequestsAndAnswers(t *testing.T) {
	p, s, bed, pods := start(t, probe.Options{})
	owners(t, p)
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	c := bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080))
	if _, err := c.Write([]byte("POST /pay?card=4711 HTTP/1.1\r\nHost: shop.example\r\nCookie: secret\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	s.await(t, "the request at both ends", func() bool {
		for _, f := range []*wire.Flow{s.find(1, flow.Egress, flow.TCP, 8080), s.find(2, flow.Ingress, flow.TCP, 8080)} {
			if r := f.GetRequest(); r.GetKind() != "http" || r.GetHost() != "shop.example" || r.GetMethod() != "POST" || r.GetPath() != "/pay" {
				return false
			}
		}
		return true
	})
	server := bed.ListenPacket(pods[1], "udp", at(pods[1], 0, 53))
	go answerDNS(server)
	q := bed.Dial(pods[0], "udp", at(pods[1], 0, 53))
	for _, name := range []string{"web.example.", "none.example.", "silent.example."} {
		if _, err := q.Write(dnsQuestion(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.await(t, "an answer, a refusal and a silence", func() bool {
		var seen [3]bool
		for _, a := range s.answers {
			seen[0] = seen[0] || a.GetQuestion() == "web.example" && a.GetRcode() == 0 && len(a.GetIps()) == 1 && a.GetTtl() == 60 && a.GetTookNs() > 0 && a.GetEndpoint() == 1
			seen[1] = seen[1] || a.GetQuestion() == "none.example" && a.GetRcode() == 3
			seen[2] = seen[2] || a.GetQuestion() == "silent.example" && a.GetUnanswered()
		}
		return seen == [3]bool{true, true, true} && len(s.answers) == 3
	})
}
