// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Query is one line of input:
//
//	{"id":"1","from":"ns/pod","to":"10.0.0.7","protocol":"TCP","port":80}
//
// From and To are what [Resolver.Resolve] reads; a pod with two families is
// asked about by its address. Protocol is TCP if it is left out. Port is a
// number, or the name of a port of the pod asked for; it is left out for
// protocols without ports. Left out for another, or 0, it is a port that no
// rule names: what is open there is open on every port. ID may be any JSON
// value and comes back as it is.
type Query struct {
	ID       json.RawMessage `json:"id"`
	From     string          `json:"from"`
	To       string          `json:"to"`
	Protocol string          `json:"protocol"`
	Port     Port            `json:"port"`
}

// Port is a number, or a name to be looked up at the destination.
type Port struct {
	Number uint16
	Name   string
}

// UnmarshalJSON reads 80, "80" and "http".
func (p *Port) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "" || text == "null" {
		return nil
	}
	var err error
	*p, err = ParsePort(text, data[0] == '"')
	return err
}

// ParsePort reads a port's number, or its name if names are allowed.
func ParsePort(text string, names bool) (Port, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err == nil:
		return Port{Number: uint16(n)}, nil
	case errors.Is(err, strconv.ErrRange):
		return Port{}, fmt.Errorf("port %s: must be between 0 and 65535", text)
	case !names || strings.ContainsAny(text[:1], "-0123456789"):
		return Port{}, fmt.Errorf("port %s: must be a whole number between 0 and 65535", text)
	}
	return Port{Name: text}, nil
}

// Packet finds what a query asks about. One end may be many only if all of
// them have the same answer; see [Batch.Parts].
func (b *Batch) Packet(q *Query) (policy.Packet, error) {
	from, to, err := b.places(q)
	if err != nil {
		return policy.Packet{}, err
	}
	if from.many() || to.many() {
		parts, err := b.Parts(q)
		switch {
		case err != nil:
			return policy.Packet{}, err
		case Differ(parts):
			return policy.Packet{}, noOneAnswer(q, parts)
		}
		return parts[0].Packet, nil
	}
	return b.packet(q, from, to)
}

// noOneAnswer names two of those that differ: by their verdicts if they do.
func noOneAnswer(q *Query, parts []Part) error {
	first, why := &parts[0], ""
	other := slices.IndexFunc(parts, func(p Part) bool { return p.Verdict != first.Verdict })
	if other < 0 {
		other = slices.IndexFunc(parts, func(p Part) bool { return !same(&p.Answer, &first.Answer) })
		why = " for another reason"
	}
	p := &parts[other]
	return fmt.Errorf("%q to %q has no one answer (%s to %s: %s, %s to %s: %s%s): ask about one of them",
		q.From, q.To, first.From, first.To, first.Verdict, p.From, p.To, p.Verdict, why)
}

func (b *Batch) places(q *Query) (from, to Place, err error) {
	switch {
	case q.From == "":
		return from, to, errors.New(`"from" is missing`)
	case q.To == "":
		return from, to, errors.New(`"to" is missing`)
	}
	if from, err = b.resolver.Resolve(q.From); err != nil {
		return from, to, fmt.Errorf("from: %w", err)
	}
	if to, err = b.resolver.Resolve(q.To); err != nil {
		if name, port, ok := strings.Cut(q.To, ":"); ok && strings.Contains(name, "/") && !strings.Contains(port, ":") {
			err = fmt.Errorf("%q: a port stands in \"port\" here, and a protocol in \"protocol\"", q.To)
		}
		return from, to, fmt.Errorf("to: %w", err)
	}
	return from, to, nil
}

func (b *Batch) packet(q *Query, from, to Place) (p policy.Packet, err error) {
	p.Protocol = flow.TCP
	if q.Protocol != "" {
		if p.Protocol, err = flow.ParseProtocol(q.Protocol); err != nil {
			return p, err
		}
	}
	if p.Source, p.Destination, err = pair(from, to); err != nil {
		return p, err
	}
	if from.Pod != nil && from.Pod.HostNetwork {
		p.SourcePod = from.Pod.Key()
	}
	if to.Pod != nil && to.Pod.HostNetwork {
		p.DestinationPod = to.Pod.Key()
	}
	if p.Protocol == flow.ICMP && !p.Source.Is4() {
		p.Protocol = flow.ICMPv6
	}
	if !p.Protocol.HasPorts() {
		return p, nil
	}
	p.Port, err = portOf(q.Port, to, p.Protocol)
	return p, err
}

func portOf(port Port, to Place, protocol flow.Protocol) (uint16, error) {
	switch {
	case port.Name == "":
		return port.Number, nil
	case to.Service != nil:
		for _, p := range to.Service.Ports {
			if p.Name == port.Name && p.Protocol == protocol {
				return p.Port, nil
			}
		}
	case to.Pod != nil:
		if list := policy.Resolve(to.Pod, port.Name, protocol); len(list) > 0 {
			return list[0].Number, nil
		}
	}
	return 0, fmt.Errorf("port %q: %q has no port of that name and protocol %s", port.Name, to.Text, protocol)
}

// Run answers each line of r with one line to w, in order. A line that can't
// be answered gets an answer with an error, and the line's number if it has no
// id; the last error of Run says how many. It stops at the first fault of r or
// w. Empty lines are passed over.
func (b *Batch) Run(r io.Reader, w io.Writer) error {
	in := &lineReader{in: bufio.NewReaderSize(r, 64<<10)}
	out := bufio.NewWriterSize(w, 64<<10)
	run := running{b: b, out: out}
	var fault error
	for {
		line, err := in.next()
		if err != nil && !errors.Is(err, errLongLine) {
			if !errors.Is(err, io.EOF) {
				fault = err
			}
			break
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := run.take(line, in.number, err); err != nil {
			return err
		}
	}
	if err := errors.Join(fault, run.flush(), out.Flush()); err != nil {
		return err
	}
	if run.failed > 0 {
		return fmt.Errorf("%d queries could not be answered: see \"error\" in their lines", run.failed)
	}
	return nil
}

// running is a run: without a kernel it answers line by line, with one it
// gathers some first, so that the rules of a node are loaded once for many.
type running struct {
	b       *Batch
	out     *bufio.Writer
	failed  int
	line    []byte
	waiting []waiting
}

type waiting struct {
	Answer // valid iff Error is set
	packet policy.Packet
}

const gatherMost = 10_000

func (r *running) take(line []byte, number int, fault error) error {
	id, p, err := r.b.parse(line)
	if fault != nil {
		err = fault
	}
	if r.b.kernel == nil {
		a := r.b.answer(id, p, err)
		if len(id) == 0 && a.Error != "" {
			a.Line = number
		}
		return r.write(a)
	}
	w := waiting{Answer{ID: bytes.Clone(id)}, p}
	if err != nil {
		w.Error = err.Error()
		if len(id) == 0 {
			w.Line = number
		}
	}
	r.waiting = append(r.waiting, w)
	if len(r.waiting) < gatherMost {
		return nil
	}
	return r.flush()
}

// flush asks the kernel about what waits, and answers.
func (r *running) flush() error {
	if len(r.waiting) == 0 {
		return nil
	}
	var packets []policy.Packet
	for i := range r.waiting {
		if r.waiting[i].Error == "" {
			packets = append(packets, r.waiting[i].packet)
		}
	}
	if err := r.b.askKernel(packets); err != nil {
		return err
	}
	for i := range r.waiting {
		a := r.waiting[i].Answer
		if a.Error == "" {
			a = r.b.answer(a.ID, r.waiting[i].packet, nil)
		}
		if err := r.write(a); err != nil {
			return err
		}
	}
	r.waiting = r.waiting[:0]
	return nil
}

func (r *running) write(a Answer) error {
	if a.Error != "" {
		r.failed++
	}
	r.line = a.append(r.line[:0])
	_, err := r.out.Write(r.line)
	return err
}

// parse reads a line. The id is part of the line.
func (b *Batch) parse(line []byte) (id json.RawMessage, p policy.Packet, err error) {
	var q Query
	if !q.scan(line) {
		q = Query{}
		if err := json.Unmarshal(line, &q); err != nil {
			return idOf(&q, line), p, inWords(err)
		}
	}
	p, err = b.Packet(&q)
	return q.ID, p, err
}

// answer answers what parse read, once the kernel has been asked.
func (b *Batch) answer(id json.RawMessage, p policy.Packet, err error) Answer {
	if err == nil {
		var a Answer
		if a, err = b.evaluate(p); err == nil {
			a.ID = id
			return a
		}
	}
	return Answer{ID: id, Error: err.Error()}
}
