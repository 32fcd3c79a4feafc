// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// settled is how long after its first line a session has read what was there
// before it, which isn't observing.
const settled = 3 * time.Second

// cluster compares pairs of a real cluster's pods, of which a session watches
// one: watch is the command for it, with the pair's number in PAIR. Each of list
// names the network namespaces of a client and of a server, and the server's
// address.
func cluster(list []string, watch string, rounds int) error {
	var pairs []pair
	for _, s := range list {
		p, stop, err := openPair(strings.Fields(s))
		if err != nil {
			return fmt.Errorf("-pairs %q: %w", s, err)
		}
		defer stop()
		pairs = append(pairs, p)
	}
	if len(pairs) != 2 {
		return fmt.Errorf("-pairs: %d of them, use 2: CLIENT SERVER ADDRESS,CLIENT SERVER ADDRESS", len(pairs))
	}
	results, err := compare(pairs, rounds, func(n int) (func() error, error) { return session(watch, (n+1)%2) })
	if err != nil {
		return err
	}
	tell("between two pods on two nodes", results, rounds)
	return nil
}

func openPair(words []string) (p pair, stop func(), err error) {
	if len(words) != 3 {
		return p, nil, errors.New("use CLIENT SERVER ADDRESS")
	}
	ip, err := netip.ParseAddr(words[2])
	if err != nil {
		return p, nil, err
	}
	var ends [2]*netbed.Pod
	for i := range ends {
		ns, err := netbed.Open(words[i])
		if err != nil {
			return p, nil, err
		}
		ends[i] = &netbed.Pod{Namespace: ns}
	}
	p = pair{ends[0], ends[1], netip.AddrPortFrom(ip, 5001)}
	stop, err = serve(p.server, p.addr)
	return p, stop, err
}

// session is the command until it is ended.
func session(command string, watched int) (end func() error, err error) {
	cmd := exec.Command("sh", "-c", "exec "+command)
	cmd.Env = append(os.Environ(), fmt.Sprint("PAIR=", watched))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := make(chan bool, 1)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case lines <- true:
			default:
			}
		}
		close(lines)
	}()
	if !<-lines {
		return nil, errors.Join(errors.New("the session ended without a line"), cmd.Wait())
	}
	time.Sleep(settled)
	return func() error {
		err := cmd.Process.Signal(os.Interrupt)
		for range lines { // it cleans up first
		}
		_ = cmd.Wait() // its code says that it was interrupted
		return err
	}, nil
}
