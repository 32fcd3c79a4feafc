// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// What is at a pair's devices while traffic is measured.
const (
	nothing = iota
	hooks   // programs that do nothing
	probing
	roles
)

// attachEmpty puts a program that lets everything pass where the probe's would
// be. On kernels without TCX there is nothing to compare with, and an error.
func attachEmpty(pods []*netbed.Pod) (detach func() error, err error) {
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bench_empty", Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}, // TCX_NEXT
	})
	if err != nil {
		return nil, fmt.Errorf("load an empty program: %w", err)
	}
	all := []interface{ Close() error }{empty}
	detach = func() error {
		var err error
		for _, c := range all {
			err = errors.Join(err, c.Close())
		}
		return err
	}
	for _, pod := range pods {
		err := pod.Do(func() error {
			device, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
				l, err := link.AttachTCX(link.TCXOptions{Interface: device.Index, Program: empty, Attach: at})
				if err != nil {
					return fmt.Errorf("attach an empty program: %w", err)
				}
				all = append(all, l)
			}
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, detach())
		}
	}
	return detach, nil
}
