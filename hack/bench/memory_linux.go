// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// tellMemory prints what the probe takes while it watches both pods, before
// and after what load does.
func (p *probe) tellMemory(pods []*netbed.Pod, load func() error) error {
	fmt.Println("\n| memory of the probe, MB | resident | of it its own | BPF maps | target |\n| --- | ---: | ---: | ---: | ---: |")
	row := func(when string) error {
		if err := p.nextStats(2); err != nil { // what was asked for is done
			return err
		}
		rss, anonymous, err := p.resident()
		if err != nil {
			return err
		}
		maps, err := p.mapBytes()
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.1f | %.1f | %.1f | ≤ 30 resident |\n", when, float64(rss)/1e6, float64(anonymous)/1e6, float64(maps)/1e6)
		return nil
	}
	if err := p.watch(pods, true); err != nil {
		return err
	}
	if err := row("watching two pods"); err != nil {
		return err
	}
	if err := load(); err != nil {
		return err
	}
	if err := row("after many connections"); err != nil {
		return err
	}
	if err := p.nextStats(8); err != nil {
		return err
	}
	return row("ten seconds later")
}

// resident is what the kernel counts for the process, the program's own pages
// with it, and the part that is no file's; in bytes.
func (p *probe) resident() (rss, anonymous uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "Rss: %d kB", &rss)
		_, _ = fmt.Sscanf(lines.Text(), "Anonymous: %d kB", &anonymous)
	}
	if rss == 0 {
		return 0, 0, errors.New("smaps_rollup tells no resident memory")
	}
	return rss << 10, anonymous << 10, nil
}

func (p *probe) mapBytes() (uint64, error) {
	select {
	case s := <-p.stats:
		return s.MapBytes, nil
	case err := <-p.ended:
		return 0, err
	case <-time.After(patience):
		return 0, errors.New("the probe sends no statistics")
	}
}
