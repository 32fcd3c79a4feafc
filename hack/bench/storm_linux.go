// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// stormPort is where the storm goes; nobody listens.
const stormPort = 9

// storm drops as many packets as this machine can make: they appear on the
// server's own device by BPF_PROG_TEST_RUN, on every processor, so that making
// them costs next to nothing. It compares what was dropped with what the probe
// counted, and says what the probe took for it.
func (b *bed) storm() error {
	const length = 5 * time.Second
	if err := b.probe.watch([]*netbed.Pod{b.client, b.server}, true); err != nil {
		return err
	}
	told := &dropTotals{counts: map[string]uint64{}}
	b.probe.drops.Store(told)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}}) // XDP_PASS
	if err != nil {
		return fmt.Errorf("load the storm: %w", err)
	}
	defer prog.Close()
	frame := datagram(b.client.IPs[0], b.server.IPs[0])
	err = b.server.Do(func() error {
		device, err := net.InterfaceByIndex(b.server.Index)
		if err == nil {
			copy(frame, device.HardwareAddr)
		}
		return err
	})
	if err != nil {
		return err
	}
	before, err := b.counted("UdpNoPorts")
	if err != nil {
		return err
	}
	cpu, err := b.probe.cpu()
	if err != nil {
		return err
	}
	start := time.Now()
	ended := make(chan error, runtime.NumCPU())
	for range runtime.NumCPU() {
		go func() { ended <- b.server.Do(func() error { return flood(prog, frame, b.server.Index, length) }) }()
	}
	var errs []error
	for range runtime.NumCPU() {
		errs = append(errs, <-ended)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("make the storm: %w", err)
	}
	took := time.Since(start)
	used, err := b.probe.cpu()
	if err != nil {
		return err
	}
	used -= cpu
	after, err := b.counted("UdpNoPorts")
	if err != nil {
		return err
	}
	if err := b.probe.nextStats(3); err != nil { // the totals of the last second come before
		return err
	}
	dropped := after - before
	fmt.Println("\n| a storm of drops | measured | target |\n| --- | ---: | ---: |")
	fmt.Printf("| packets dropped a second, thousands | %.0f | 1000 |\n", float64(dropped)/took.Seconds()/1e3)
	fmt.Printf("| the kernel's own count of them | %d | |\n| the probe's count | %d | the same |\n", dropped, told.count("NO_SOCKET"))
	fmt.Printf("| samples shown a second | %.0f | bounded |\n", float64(told.samples)/took.Seconds())
	fmt.Printf("| the probe's process, share of one core | %.1f %% | ≤ 25 %% |\n", 100*used.Seconds()/took.Seconds())
	if n := told.count("NO_SOCKET"); n != dropped {
		return fmt.Errorf("the kernel dropped %d, the probe counted %d", dropped, n)
	}
	return nil
}

// flood makes packets arrive on a device for a while.
func flood(prog *ebpf.Program, frame []byte, device int, length time.Duration) error {
	const live = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES
	const batch = 65_536
	for start := time.Now(); time.Since(start) < length; {
		_, err := prog.Run(&ebpf.RunOptions{
			Data: frame, Repeat: batch, Flags: live,
			Context: struct{ Data, DataEnd, DataMeta, Ifindex, RxQueue, Egress uint32 }{DataEnd: uint32(len(frame)), Ifindex: uint32(device)}, //nolint:gosec // both are small
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counted is a number that the server's namespace counts by itself.
func (b *bed) counted(name string) (n uint64, err error) {
	err = b.server.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var head []string
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if i := slices.Index(head, strings.TrimPrefix(name, "Udp")); i > 0 && words[0] == "Udp:" {
				n, err = strconv.ParseUint(words[i], 10, 64)
				return err
			}
			if head = nil; words[0] == "Udp:" {
				head = words
			}
		}
		return fmt.Errorf("no %q in /proc/net/snmp", name)
	})
	return n, err
}

// datagram is an Ethernet frame with one byte for the storm's port. Its
// checksum is none, which UDP over IPv4 allows.
func datagram(from, to netip.Addr) []byte {
	f := make([]byte, 60)
	f[12], f[13] = 8, 0
	ip := f[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 29, 64, unix.IPPROTO_UDP
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	sum = ^(sum&0xffff + sum>>16)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	udp := ip[20:]
	udp[0], udp[3], udp[5] = 0x10, stormPort, 9
	return f
}

// dropTotals is what the probe told of drops.
type dropTotals struct {
	mu      sync.Mutex
	samples int
	counts  map[string]uint64 // by reason, place and endpoint
}

func (d *dropTotals) count(reason string) (n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, v := range d.counts {
		if strings.HasPrefix(k, reason+" ") {
			n += v
		}
	}
	return n
}

func (d *dropTotals) add(m *wire.Drops) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.samples += len(m.GetDrops())
	for _, c := range m.GetCounts() {
		d.counts[fmt.Sprint(c.GetReasonName(), " ", c.GetLocation(), " ", c.GetEndpoint())] = c.GetPackets()
	}
}
