// SPDX-License-Identifier: Apache-2.0

package confidence

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// Report is a dry-run's result. As JSON it is also the last object of
// `dry-run -o json`; fields are only ever added.
type Report struct {
	Type    string    `json:"type"` // "summary"
	Time    time.Time `json:"time"`
	Source  string    `json:"source,omitempty"`
	Began   time.Time `json:"began,omitzero"`
	Seconds float64   `json:"seconds"` // watched

	Nodes     int      `json:"nodes"`               // whose probe was live
	NodesDown []string `json:"nodesDown,omitempty"` // whose probe was not, at the end
	Pods      int      `json:"pods"`                // watched, with traffic
	Selected  int      `json:"selected"`            // that the policies are for
	Unwatched []string `json:"unwatched,omitempty"` // of these, without a probe; at most 100

	Flows      int      `json:"flows"` // judged
	WouldDeny  int      `json:"wouldDeny"`
	WouldAllow int      `json:"wouldAllow"`
	Disputed   int      `json:"disputed,omitempty"` // that become contested, or stop to be
	Cut        int      `json:"cut"`                // of those denied, open when the session ended
	Changes    []Change `json:"changes"`            // most flows first

	Policies []Policy `json:"policies"`
	Quiet    []string `json:"quiet,omitempty"`    // pods that had no traffic, at most 100
	Replicas []string `json:"replicas,omitempty"` // workloads of which some pods had none: "1 of 3 pods of shop/deploy/web"

	CronJobs []traffic.CronJob `json:"cronJobs,omitempty"` // that did not run
	NoJobs   string            `json:"cronJobsUnknown,omitempty"`

	Missed       []string `json:"missed,omitempty"`       // what the session is known to have missed
	Warnings     []string `json:"warnings,omitempty"`     // about the policies
	NotEvaluated []string `json:"notEvaluated,omitempty"` // policies of kinds that are not judged
}

// Change is flows of one workload with another that change for one reason.
type Change struct {
	Direction   string `json:"direction"`
	Protocol    string `json:"protocol"`
	Source      string `json:"source"`      // workload, service, name or address
	Destination string `json:"destination"` // likewise
	Port        uint16 `json:"port,omitempty"`
	Verdict     string `json:"verdict"`
	Candidate   string `json:"candidate"`

	Rule                *flow.Rule  `json:"rule,omitempty"`
	IsolatedBy          []flow.Rule `json:"isolatedBy,omitempty"`
	CandidateRule       *flow.Rule  `json:"candidateRule,omitempty"`
	CandidateIsolatedBy []flow.Rule `json:"candidateIsolatedBy,omitempty"`

	Flows int       `json:"flows"`
	Open  int       `json:"open,omitempty"` // when the session ended
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	seen *traffic.Seen // one of them
}

// Policy says how often a policy of the candidate set decided.
type Policy struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Removed   bool   `json:"removed,omitempty"` // left out of the candidate set; hits are of the current one
	Pods      int    `json:"pods"`
	Hits      uint64 `json:"hits"`
	WouldDeny uint64 `json:"wouldDeny"`
	Rules     []Rule `json:"rules,omitempty"`
}

// Key is namespace/name.
func (p *Policy) Key() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// Rule is one rule of a policy and the flows that it decided.
type Rule struct {
	Direction string `json:"direction"`
	Index     int    `json:"index"`          // from 0
	Line      int    `json:"line,omitempty"` // in its file; 0: not known
	Hits      uint64 `json:"hits"`
}

// Unused are the rules that decided nothing.
func (p *Policy) Unused() []Rule {
	var out []Rule
	for _, r := range p.Rules {
		if r.Hits == 0 {
			out = append(out, r)
		}
	}
	return out
}

// Changed is how many flows would be judged otherwise.
func (r *Report) Changed() int { return r.WouldDeny + r.WouldAllow + r.Disputed }

// event is the change as a line of output would say it.
func (c *Change) event() *flow.Event {
	return &flow.Event{
		Type: flow.FlowEvent, Direction: c.seen.Direction, Verdict: c.seen.Verdict, Candidate: c.seen.Candidate, Rule: c.Rule, IsolatedBy: c.IsolatedBy,
		CandidateRule: c.CandidateRule, CandidateIsolatedBy: c.CandidateIsolatedBy,
	}
}
