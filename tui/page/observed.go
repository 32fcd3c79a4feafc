// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strconv"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// agreement is the badge that compares what the policies say with what
// happened: "= agrees", or "!" and how they differ.
func (e *Env) agreement(a flow.Agreement) style.Word {
	th := e.Theme
	switch a {
	case "":
		return style.Word{}
	case flow.Agrees:
		return style.Word{Symbol: "=", Text: "agrees", Paint: th.Dim}
	case flow.DeniedButDelivered:
		return style.Word{Symbol: "!", Text: "delivered", Paint: th.Bad}
	case flow.AllowedButDropped:
		return style.Word{Symbol: "!", Text: "dropped", Paint: th.Bad}
	case flow.ContestedButSettled:
		return style.Word{Symbol: th.Unsure, Text: "settled", Paint: th.Contested}
	}
	return style.Word{Symbol: "!", Text: part.Clean(string(a)), Paint: th.Warn}
}

// agreementCell is the badge in a column; nothing where there is nothing to
// compare yet.
func (e *Env) agreementCell(ev *flow.Event) part.Cell {
	if ev.Agreement == "" {
		return part.Cell{}
	}
	w := e.agreement(ev.Agreement)
	return part.Cell{Text: w.String(), Paint: w.Paint}
}

// badge stands behind a verdict that didn't come true.
func badge(e *flow.Event) string {
	if e.Agreement == flow.DeniedButDelivered || e.Agreement == flow.AllowedButDropped {
		return " !"
	}
	return ""
}

// disagrees is the sentence about a flow that didn't go as the policies say;
// empty if it did, or if that isn't known.
func disagrees(e *flow.Event) string {
	what := outcome(e)
	switch e.Agreement {
	case flow.DeniedButDelivered:
		return "The policies deny it, yet it was delivered" + comma(what) + ": the cluster's network plugin doesn't enforce them here, or not yet."
	case flow.AllowedButDropped:
		s := "The policies allow it, yet it was dropped"
		if e.Culprit != "" {
			s += " by " + part.Clean(e.Culprit)
		}
		return s + "."
	case flow.ContestedButSettled:
		return "The specification lets implementations differ here; the packets show how this one reads it" + comma(what) + "."
	}
	return ""
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return ", and " + s
}

// outcome is what became of a flow, in words; empty if not known.
func outcome(e *flow.Event) string {
	s := part.Clean(string(e.Observed))
	if e.Reason != "" && (e.Observed == flow.Dropped || e.Observed == flow.Rejected) {
		s += ": " + part.Clean(e.Reason)
	}
	return s
}

// timings says how long the answers took; empty if none came.
func timings(e *flow.Event) string {
	var out []string
	add := func(s float64, what string) {
		if s > 0 {
			out = append(out, what+" "+part.Took(time.Duration(s*float64(time.Second))))
		}
	}
	add(e.AnswerSeconds, "answered after")
	add(e.FirstByteSeconds, "first byte after")
	switch e.Retransmits {
	case 0:
	case 1:
		out = append(out, "1 retransmit")
	default:
		out = append(out, part.Of(uint64(e.Retransmits), "retransmit"))
	}
	return strings.Join(out, ", ")
}

// owner names the process at the subject's end: "curl (pid 4711) /usr/bin/curl
// in container web".
func owner(o *flow.Owner) string {
	s := part.Clean(o.Command)
	if s == "" {
		s = "a process"
	}
	s += " (pid " + strconv.FormatUint(uint64(o.PID), 10) + ")"
	if o.Executable != "" {
		s += "  " + part.Clean(o.Executable)
	}
	if o.Container != "" {
		name := part.Clean(o.Container)
		if len(name) == 64 && !strings.ContainsAny(name, ".-_") {
			name = name[:12] // an id, as container tools shorten it
		}
		s += "  in container " + name
	}
	return s
}

// request is what the source asked for first: "GET shop.example/cart", "TLS to
// shop.example".
func request(r *flow.Request) string {
	host, path := part.Clean(r.Host), part.Clean(r.Path)
	switch r.Kind {
	case "tls":
		if host == "" {
			return "TLS, without a name"
		}
		return "TLS to " + host
	case "grpc":
		return strings.TrimSpace("gRPC " + host + path)
	}
	return strings.TrimSpace(part.Clean(r.Method) + " " + host + path)
}

// nftRule is the very rule: where it stands, what it says, whose it is.
func nftRule(r *flow.NftRule) []string {
	where := strings.Join([]string{part.Clean(r.Family), part.Clean(r.Table), part.Clean(r.Chain)}, " ")
	if r.Handle != 0 {
		where += " handle " + strconv.FormatUint(r.Handle, 10)
	} else {
		where += ", the chain's policy"
	}
	if r.Engine != "" {
		where += "  (" + part.Clean(r.Engine) + ")"
	}
	if r.Verdict != "" && r.Text == "" {
		where += "  " + part.Clean(r.Verdict)
	}
	out := []string{where}
	if r.Text != "" {
		out = append(out, part.Clean(r.Text))
	}
	if r.Comment != "" && !strings.Contains(r.Text, r.Comment) {
		out = append(out, "comment: "+part.Clean(r.Comment))
	}
	return out
}

// answer is a DNS answer in a line: "A shop.example: 10.0.0.1, 10.0.0.2".
func answer(a *flow.Answer) string {
	s := part.Clean(a.Type) + " " + part.Clean(a.Question) + ": "
	switch {
	case a.Unanswered:
		return s + "no answer within 5s"
	case len(a.IPs) == 0:
		code := part.Clean(a.Code)
		if code == "" || code == "NOERROR" {
			code = "no address"
		}
		return s + code
	}
	for i, ip := range a.IPs {
		if i == 4 {
			return s + " and " + strconv.Itoa(len(a.IPs)-i) + " more"
		}
		if i > 0 {
			s += ", "
		}
		s += ip.String()
	}
	return s
}
