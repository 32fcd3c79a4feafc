// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

// PodCommand is the hidden subcommand that calls [RunPod].
const PodCommand = "demo-pod"

// RunPod is the whole life of a pod's process: it reads its part from in,
// listens, writes one line to out once everything is open, calls others, and
// returns when in ends or ctx does.
func RunPod(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := json.NewDecoder(in)
	var s script
	if err := d.Decode(&s); err != nil {
		return fmt.Errorf("%s is for `demo` only: its part on standard input: %w", PodCommand, err)
	}
	setName(s.Name)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if err := s.open(ctx, &wg); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for _, call := range s.Calls {
		c := &caller{call: call, resolver: s.Resolver}
		wg.Go(func() { c.run(ctx) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // its end is the news
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// open opens every port, on each address of the pod.
func (s *script) open(ctx context.Context, wg *sync.WaitGroup) error {
	for _, ip := range s.IPs {
		for _, p := range s.Listen {
			l, err := net.Listen("tcp", netip.AddrPortFrom(ip, p.Number).String())
			if err != nil {
				return fmt.Errorf("pod %q: port %q: %w", s.Name, p.Name, err)
			}
			wg.Go(func() { _ = serve(ctx, l, p.Kind) })
		}
		if s.Zone != nil {
			c, err := net.ListenPacket("udp", netip.AddrPortFrom(ip, dnsPort).String())
			if err != nil {
				return fmt.Errorf("pod %q: port \"dns\": %w", s.Name, err)
			}
			wg.Go(func() { _ = serveDNS(ctx, c, s.Zone) })
		}
	}
	return nil
}

// ErrNotSupported is wrapped by [Start]'s error where the demo can only be
// replayed, with the reason.
var ErrNotSupported = errors.New("the live demo is not supported here")
