// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const patience = 30 * time.Second

// probe is the real one, as a child process, spoken to in frames.
type probe struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	w      *wire.Writer
	states chan *wire.EndpointState
	stats  chan *wire.Stats
	ended  chan error
	seq    uint64
	got    atomic.Uint64 // the number of the last frame from it, to acknowledge
	next   uint32        // endpoint ids are never reused
	quit   chan struct{}
	frames chan *wire.Frame
	all    bool                       // owners, names and blame are asked for, not drops alone
	drops  atomic.Pointer[dropTotals] // nil: nobody asks
}

func startProbe(s *netbed.Spawner, ns *netbed.Namespace, path string) (*probe, error) {
	cmd := exec.Command(path, "run", "--stdio", "--node", "bench")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Start(ns, cmd); err != nil {
		return nil, err
	}
	p := &probe{
		cmd: cmd, in: in, w: wire.NewWriter(in), states: make(chan *wire.EndpointState, 16), stats: make(chan *wire.Stats, 1),
		ended: make(chan error, 1), quit: make(chan struct{}), frames: make(chan *wire.Frame),
	}
	go p.read(wire.NewReader(out))
	go p.write()
	p.send(&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: wire.Version, Program: "bench", Session: "bench"}}})
	return p, nil
}

func (p *probe) send(f *wire.Frame) {
	select {
	case p.frames <- f:
	case <-p.quit:
	}
}

// write numbers frames, and sends a heartbeat each second.
func (p *probe) write() {
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		f := &wire.Frame{Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{}}}
		select {
		case f = <-p.frames:
		case <-beat.C:
		case <-p.quit:
			return
		}
		p.seq++
		f.Seq, f.Ack, f.TimeNs = p.seq, p.got.Load(), time.Now().UnixNano()
		if p.w.Write(f) != nil {
			return // read tells why
		}
	}
}

func (p *probe) read(r *wire.Reader) {
	for {
		f, err := r.Read()
		if err != nil {
			p.ended <- fmt.Errorf("the probe ended: %w", err)
			return
		}
		p.got.Store(max(p.got.Load(), f.Seq))
		switch b := f.Body.(type) {
		case *wire.Frame_EndpointStates:
			for _, s := range b.EndpointStates.States {
				p.states <- s
			}
		case *wire.Frame_Stats:
			select {
			case <-p.stats: // only the newest counts
			default:
			}
			p.stats <- b.Stats
		case *wire.Frame_Drops:
			if d := p.drops.Load(); d != nil {
				d.add(b.Drops)
			}
		case *wire.Frame_Bye:
			p.ended <- fmt.Errorf("the probe ended: %s", b.Bye.Reason)
			return
		}
	}
}

// watch makes the probe watch these pods and nobody else: with pods, for all
// that a session asks for unless told otherwise; without blame, for all but
// netfilter's rules.
func (p *probe) watch(pods []*netbed.Pod, blame bool) error {
	watching := len(pods) > 0
	all := watching && p.all
	p.send(&wire.Frame{Body: &wire.Frame_Options{Options: &wire.Options{Drops: watching, Owners: all, Names: all, Blame: blame && all}}})
	list := &wire.Endpoints{}
	waiting := map[uint32]bool{}
	for _, pod := range pods {
		p.next++
		waiting[p.next] = true
		list.Endpoints = append(list.Endpoints, &wire.Endpoint{
			Id: p.next, Ips: wire.AddrsBytes(pod.IPs), Netns: pod.Path(), Uid: fmt.Sprint("bench-", p.next),
		})
	}
	p.send(&wire.Frame{Body: &wire.Frame_Endpoints{Endpoints: list}})
	late := time.After(patience)
	for len(waiting) > 0 {
		select {
		case s := <-p.states:
			if waiting[s.Id] && s.Error != "" {
				return fmt.Errorf("pod not watched: %s", s.Error)
			}
			if s.Attached {
				delete(waiting, s.Id)
			}
		case err := <-p.ended:
			return err
		case <-late:
			return errors.New("the probe did not attach in time")
		}
	}
	if len(pods) == 0 {
		// Detaching has no answer; the next statistics come after it.
		return p.nextStats(2)
	}
	return nil
}

func (p *probe) nextStats(n int) error {
	for range n {
		select {
		case <-p.stats:
		case err := <-p.ended:
			return err
		case <-time.After(patience):
			return errors.New("the probe sends no statistics")
		}
	}
	return nil
}

// cpu is how long the probe's process has run so far.
func (p *probe) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: too few fields", p.cmd.Process.Pid)
	}
	ticks := 0 // hundredths of a second, whatever the kernel's own
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

func (p *probe) close() error {
	close(p.quit)
	if err := p.in.Close(); err != nil {
		return err
	}
	return p.cmd.Wait()
}
