// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteTo writes the ruleset as text, one line an entry, so that two of them
// can be compared by eye or by diff. The generation is not in it.
func (r *Ruleset) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: w}
	b := bufio.NewWriter(c)
	for _, s := range r.Sets {
		fmt.Fprintf(b, "set %d always=%s deny=%s pass=%s tiers=%d,%d,%d ranges=%t current=%s candidate=%s enforced=%s\n",
			s.ID, s.Always, s.Deny, s.Pass, s.AdminEnd, s.IsolateStart, s.BaselineStart, s.Ranges, s.Current, s.Candidate, s.Enforced)
	}
	for _, e := range r.Endpoints {
		fmt.Fprintf(b, "endpoint %s id=%d ingress=%d egress=%d\n", e.IP, e.ID, e.Ingress, e.Egress)
	}
	for _, p := range r.Peers {
		fmt.Fprintf(b, "peer %s class=%d flags=%d\n", p.Prefix, p.Class, p.Flags)
	}
	for _, s := range r.Services {
		fmt.Fprintf(b, "service %s/%d/%d class=%d\n", s.IP, s.Protocol, s.Port, s.Class)
	}
	for _, p := range r.Ports {
		fmt.Fprintf(b, "port set=%d %d/%d class=%d\n", p.Set, p.Protocol, p.Port, p.Class)
	}
	for _, p := range r.PortRanges {
		fmt.Fprintf(b, "ports set=%d %d/%d-%d class=%d\n", p.Set, p.Protocol, p.Port, uint32(p.Port)+1<<(16-p.Bits)-1, p.Class)
	}
	for _, m := range r.Matches {
		fmt.Fprintf(b, "match set=%d peer=%d ports=%d bits=%s", m.Set, m.Peer, m.Ports, m.Bits)
		if m.Alt != m.Bits {
			fmt.Fprintf(b, " alt=%s", m.Alt)
		}
		if m.Open != 0 {
			fmt.Fprintf(b, " open=%d", m.Open)
		}
		fmt.Fprintln(b)
	}
	err := b.Flush()
	return c.n, err
}

// String lists the bits as runs: "0-2,100", "-" for none.
func (b Bitmap) String() string {
	var s strings.Builder
	for i := 0; i < Bits; i++ {
		if !b.Has(i) {
			continue
		}
		start := i
		for i+1 < Bits && b.Has(i+1) {
			i++
		}
		if s.Len() > 0 {
			s.WriteByte(',')
		}
		fmt.Fprint(&s, start)
		if i > start {
			fmt.Fprintf(&s, "-%d", i)
		}
	}
	if s.Len() == 0 {
		return "-"
	}
	return s.String()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
