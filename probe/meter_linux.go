// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// meter knows what we cost. The kernel's run-time statistics slow every BPF
// program of the machine down by two clock reads, so they are on for a fiftieth of
// the time, and what they count is multiplied: run counts and times are
// estimates.
type meter struct {
	programs []*ebpf.Program
	mu       sync.Mutex
	last     time.Time
	scaled   []wire.ProgramStats
}

const (
	meterFor   = 20 * time.Millisecond
	meterEvery = 50 // of meterFor, at most
)

func newMeter(programs []*ebpf.Program) *meter {
	m := &meter{programs: programs, scaled: make([]wire.ProgramStats, len(programs)), last: time.Now()}
	for i, p := range programs {
		if info, err := p.Info(); err == nil {
			m.scaled[i].Name = info.Name
		}
	}
	return m
}

// take measures for a moment, if it is time to.
func (m *meter) take() {
	m.mu.Lock()
	defer m.mu.Unlock()
	whole := time.Since(m.last)
	if whole < meterEvery*meterFor {
		return
	}
	on, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return // costs stay unknown
	}
	type reading struct {
		count uint64
		took  time.Duration
	}
	read := func() []reading {
		all := make([]reading, len(m.programs))
		for i, p := range m.programs {
			if s, err := p.Stats(); err == nil {
				all[i] = reading{s.RunCount, s.Runtime}
			}
		}
		return all
	}
	start, before := time.Now(), read()
	time.Sleep(meterFor)
	after, measured := read(), time.Since(start)
	_ = on.Close() // a descriptor of our own
	factor := float64(whole) / float64(measured)
	for i := range before {
		m.scaled[i].RunCount += uint64(float64(after[i].count-before[i].count) * factor)
		m.scaled[i].RunTimeNs += uint64(float64(after[i].took-before[i].took) * factor)
	}
	m.last = time.Now()
}

func (m *meter) stats() []*wire.ProgramStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*wire.ProgramStats, len(m.scaled))
	for i := range m.scaled {
		s := &m.scaled[i]
		all[i] = &wire.ProgramStats{Name: s.Name, RunCount: s.RunCount, RunTimeNs: s.RunTimeNs}
	}
	return all
}

// Stats implements [serve.Probe].
func (p *Probe) Stats() *wire.Stats {
	fill := p.kernel.RingFill()
	return &wire.Stats{
		RssBytes: rss(), MapBytes: p.kernel.MapBytes() + p.drops.mapBytes(), Programs: p.meter.stats(),
		Connections: uint32(p.kernel.Open()), RingFillPermille: fill,
	}
}

// rss is this process's resident memory, 0 if unknown.
func rss() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// haveTCX is nil if TCX links work here. No device has this index, and a
// kernel that knows the links says so.
func haveTCX() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load a program: %w", err)
	}
	defer p.Close()
	_, err = link.AttachTCX(link.TCXOptions{Interface: math.MaxInt32, Program: p, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
