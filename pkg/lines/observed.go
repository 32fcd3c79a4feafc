// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"strconv"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// outcome says what became of a connection, and against what.
func outcome(e *flow.Event) string {
	s := string(e.Observed)
	if e.Agreement != "" && e.Agreement != flow.Agrees {
		s += ": " + string(e.Agreement)
	}
	if e.Culprit != "" {
		s += ", by " + text(e.Culprit)
	} else if e.Reason != "" {
		s += ", " + text(e.Reason)
	}
	if e.Note != "" {
		s += "; " + text(e.Note)
	}
	return s
}

// Answer is a DNS answer in words: "AAAA db.example.com: NXDOMAIN".
func Answer(a *flow.Answer) string {
	if a == nil {
		return ""
	}
	s := text(a.Type) + " " + text(a.Question) + ": "
	switch {
	case a.Unanswered:
		return s + "no answer"
	case len(a.IPs) == 0:
		return s + text(a.Code)
	}
	parts := make([]string, 0, 4)
	for _, ip := range a.IPs[:min(len(a.IPs), 4)] {
		parts = append(parts, ip.String())
	}
	if n := len(a.IPs) - len(parts); n > 0 {
		parts = append(parts, "and "+strconv.Itoa(n)+" more")
	}
	return s + strings.Join(parts, ", ")
}

// Owner is a process in words: "curl (pid 812, /usr/bin/curl, container web)".
func Owner(o *flow.Owner) string {
	if o == nil {
		return ""
	}
	s := text(o.Command) + " (pid " + strconv.FormatUint(uint64(o.PID), 10)
	if o.Executable != "" {
		s += ", " + text(o.Executable)
	}
	if o.Container != "" {
		s += ", container " + text(short(o.Container))
	}
	return s + ")"
}

// short cuts a container's id as the runtimes do; names stay.
func short(container string) string {
	if len(container) == 64 && strings.Trim(container, "0123456789abcdef") == "" {
		return container[:12]
	}
	return container
}

// Request is the head of a request in words: "GET shop.example/cart".
func Request(r *flow.Request) string {
	if r == nil {
		return ""
	}
	s := text(r.Host) + text(r.Path)
	if r.Kind == "tls" {
		return "tls " + s
	}
	if r.Method != "" {
		s = text(r.Method) + " " + s
	}
	if r.Kind == "grpc" {
		s = "grpc " + s
	}
	return s
}

func seconds(s float64) string {
	if s == 0 {
		return ""
	}
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond).String()
}

// Isolation says how long policies took to be enforced at a node.
func Isolation(l *flow.Isolation) string {
	after := "a policy's change"
	if l.After == "ready" {
		after = "a pod's becoming ready"
	}
	s := "after " + after + ": " + strconv.Itoa(l.Count) + " measured"
	if l.Count > 0 {
		s += ", half within " + seconds(l.P50Seconds) + ", 99 % within " + seconds(l.P99Seconds)
	}
	if l.Missed > 0 {
		s += ", " + strconv.Itoa(l.Missed) + " not enforced so far"
	}
	return s
}

// Isolation prints how long policies took to be enforced; nothing if nothing
// could be measured.
func (p *Printer) Isolation(list []flow.Isolation) error {
	for i := range list {
		l := &list[i]
		if p.format == JSON {
			if err := p.Object(l); err != nil {
				return err
			}
			continue
		}
		s := "isolation  node " + text(l.Node) + ", " + Isolation(l)
		if _, err := p.w.Write([]byte(s + "\n")); err != nil {
			return err
		}
	}
	return nil
}
