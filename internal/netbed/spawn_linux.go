// SPDX-License-Identifier: Apache-2.0

package netbed

import (
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spawner starts processes inside namespaces that die with this process, even
// if it is killed. The kernel ties the parent-death signal to the thread that
// started the child, so one thread starts them all and lives until Close.
type Spawner struct {
	jobs chan func()
	done chan struct{}
}

// NewSpawner starts the thread.
func NewSpawner() *Spawner {
	s := &Spawner{jobs: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = onThread(func() error {
			for job := range s.jobs {
				job()
			}
			return nil
		})
	}()
	return s
}

// Start starts cmd in the namespace; nil means the one of this process. It
// sets cmd's parent-death signal to SIGKILL.
func (s *Spawner) Start(ns *Namespace, cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.jobs <- func() { result <- start(ns, cmd) }
	return <-result
}

func start(ns *Namespace, cmd *exec.Cmd) error {
	if ns == nil {
		host, err := Host()
		if err != nil {
			return err
		}
		defer host.Close()
		ns = host
	}
	if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %q: %w", ns.name, err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %q in network namespace %q: %w", cmd.Path, ns.name, err)
	}
	return nil
}

// Close ends the thread, and so kills every child that still runs.
func (s *Spawner) Close() {
	close(s.jobs)
	<-s.done
}
