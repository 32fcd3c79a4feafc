// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

// Cluster tells a live session what the demo's API server would. Its policies
// are those of [ClusterPolicies].
func (r *Running) Cluster(policies []*policy.Policy) session.Cluster {
	return &cluster{session.State{World: r.World(), Policies: policies}}
}

type cluster struct{ state session.State }

// Watch implements [session.Cluster]: nothing ever changes.
func (c *cluster) Watch(ctx context.Context, fn func(session.State)) error {
	fn(c.state)
	<-ctx.Done()
	return nil
}

// Probe is the probe of the demo's node: the program at path, as a child
// process in the node's network namespace, spoken to over its stdin and
// stdout. A new one is started if it dies.
func (r *Running) Probe(path string) session.Probe {
	return session.Probe{Node: NodeName, Dialer: session.DialFunc(func(context.Context) (io.ReadWriteCloser, error) {
		return r.dial(path)
	})}
}

// endProbeWithin is how long a probe may take to free what it holds, once
// nobody speaks to it any more, before it is killed.
const endProbeWithin = 5 * time.Second

func (r *Running) dial(path string) (io.ReadWriteCloser, error) {
	cmd := exec.Command(path, "run", "--stdio", "--node", NodeName)
	cmd.Dir = "/"
	errOut := &tail{}
	cmd.Stderr = errOut
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the probe %q: %w", path, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the probe %q: %w", path, err)
	}
	if err := r.StartOnNode(cmd); err != nil {
		return nil, fmt.Errorf("%w: %w", session.ErrGone, err)
	}
	return &child{cmd: cmd, in: in, out: out, errOut: errOut}, nil
}

// child is a probe that is spoken to over its stdin and stdout.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	errOut *tail
}

func (c *child) Write(b []byte) (int, error) { return c.in.Write(b) }

// Read adds what the probe said on its standard error to the end of the
// stream: it is why the stream ended.
func (c *child) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	if n == 0 && err != nil {
		if why := c.errOut.String(); why != "" {
			err = fmt.Errorf("%w: %s", err, why)
		}
	}
	return n, err
}

// Close asks the probe to end and waits until it has.
func (c *child) Close() error {
	c.in.Close() // a probe ends with its stdin
	late := time.AfterFunc(endProbeWithin, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the probe ended with %w: %s", err, c.errOut)
	}
	return nil
}
