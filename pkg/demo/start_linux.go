// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Bounds on the pods' processes.
const (
	readyWithin = 20 * time.Second // of all pods together; a slow machine takes 2
	endWithin   = 2 * time.Second
)

// Running is the demo made real, on this machine.
type Running struct {
	cast    *Cast
	node    *netbed.Node
	pods    map[string]*process // by key
	spawner *netbed.Spawner
	started time.Time
	notes   []string
}

var errEnded = errors.New("its process is gone")

// process is a pod's process.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *tail
	exited chan struct{}
	pod    *netbed.Pod
}

// Start makes the namespaces and starts the pods; self is the program that
// understands [PodCommand], usually os.Executable. The error wraps
// [ErrNotSupported] if this machine can't do it.
func Start(ctx context.Context, self string, cast *Cast) (*Running, error) {
	if err := netbed.Supported(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSupported, err)
	}
	node, err := netbed.NewNode(NodeName, nodeIP4, nodeIP6)
	if err != nil {
		return nil, err
	}
	r := &Running{cast: cast, node: node, pods: map[string]*process{}, spawner: netbed.NewSpawner(), started: time.Now()}
	if err := r.start(ctx, self); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Running) start(ctx context.Context, self string) error {
	services := true
	if err := translate(r.node.Namespace, r.cast); err != nil {
		services = false
		r.notes = append(r.notes, fmt.Sprintf("without services: %v; pods are called by their own addresses", err))
	}
	if err := firewall(r.node.Namespace, r.cast); err != nil {
		r.notes = append(r.notes, fmt.Sprintf("without the node's firewall: %v; nothing drops the intruder", err))
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var ready []<-chan error
	for _, a := range r.cast.Actors {
		s, err := r.cast.script(a, services)
		if err != nil {
			return err
		}
		c, err := r.startPod(self, a, s)
		if err != nil {
			return err
		}
		ready = append(ready, c)
	}
	for i, c := range ready {
		select {
		case err := <-c:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("pod %q of the demo did not start within %s: %w", r.cast.Actors[i].Key(), readyWithin, ctx.Err())
		}
	}
	return nil
}

// startPod starts an actor's process; the channel says when it is ready.
func (r *Running) startPod(self string, a *Actor, s *script) (<-chan error, error) {
	pod, err := r.node.AddPod(a.Name, a.IPs...)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, PodCommand)
	cmd.Env = []string{"GOMAXPROCS=1", "GOMEMLIMIT=32MiB"} // a dozen of them share the machine
	cmd.Dir = "/"
	p := &process{cmd: cmd, stderr: &tail{}, exited: make(chan struct{}), pod: pod}
	cmd.Stderr = p.stderr
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("pod %q: %w", a.Key(), err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("pod %q: %w", a.Key(), err)
	}
	if err := r.spawner.Start(pod.Namespace, cmd); err != nil {
		return nil, fmt.Errorf("pod %q: %w", a.Key(), err)
	}
	r.pods[a.Key()] = p
	ready := make(chan error, 2) // both words fit, so that nobody need listen
	go func() {
		defer close(p.exited)
		line, err := bufio.NewReader(out).ReadString('\n')
		if err == nil && line == "ready\n" {
			ready <- nil
		}
		ready <- fmt.Errorf("pod %q of the demo ended early: %w: %s", a.Key(), errors.Join(errEnded, cmd.Wait()), p.stderr)
	}()
	if err := json.NewEncoder(p.stdin).Encode(s); err != nil {
		return nil, fmt.Errorf("pod %q: %w: %s", a.Key(), err, p.stderr)
	}
	return ready, nil
}

// World is the demo's cluster as its API would show it.
func (r *Running) World() *identity.World { return r.cast.World(r.started) }

// Notes says in sentences what this machine can't do of the demo.
func (r *Running) Notes() []string { return r.notes }

// NetNS is the path of the network namespace of a pod, by namespace/name, or
// empty. It is good as long as the demo runs.
func (r *Running) NetNS(key string) string {
	p := r.pods[key]
	if p == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/ns/net", p.cmd.Process.Pid)
}

// StartOnNode starts a process in the node's network namespace, as a pod with
// hostNetwork runs. It dies with this one.
func (r *Running) StartOnNode(cmd *exec.Cmd) error { return r.spawner.Start(r.node.Namespace, cmd) }

// Close ends every process and lets every namespace go.
func (r *Running) Close() error {
	for _, p := range r.pods {
		p.stdin.Close() // asks it to end
	}
	late := time.After(endWithin)
	for _, p := range r.pods {
		select {
		case <-p.exited:
		case <-late:
			late = closed
			_ = p.cmd.Process.Kill() // it may have ended by itself
			<-p.exited
		}
	}
	r.spawner.Close()
	return r.node.Close()
}

// closed is a timer that has fired, for ever.
var closed = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()
