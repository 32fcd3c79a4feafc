// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// CronJob is a CronJob of the cluster.
type CronJob struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Schedule  string            `json:"schedule"`
	Suspended bool              `json:"suspended,omitempty"`
	Labels    map[string]string `json:"-"` // of its pods
}

// Key is namespace/name.
func (c CronJob) Key() string { return c.Namespace + "/" + c.Name }

// Coverage is how much of the traffic a session could see.
type Coverage struct {
	Began, Ended time.Time
	Nodes        []string // whose probe was live
	Down         []string // whose probe was not, at the end
	Watched      []string // pods that a probe was attached to, as namespace/name
	Lost         uint64   // samples
	Gaps         int      // times that a stream was cut
	LetGo        uint64   // flows that found no room

	CronJobs []CronJob // of the cluster
	NoJobs   string    // why it is not known which CronJobs there are; empty: CronJobs are all
}

// Window is how long was looked.
func (c *Coverage) Window() time.Duration {
	if c.Began.IsZero() || c.Ended.Before(c.Began) {
		return 0
	}
	return c.Ended.Sub(c.Began)
}

// Cover sums up a session that has ended.
func (l *Log) Cover(st *store.Store, began time.Time) *Coverage {
	snap := st.Snapshot(store.Query{Nodes: true})
	c := &Coverage{Began: began, Ended: snap.Time, Watched: st.Watched(), Gaps: snap.Health.Gaps, LetGo: snap.Health.LetGo + l.more}
	loss := snap.Health.Loss
	c.Lost = loss.Ring + loss.Thinned + loss.Table + loss.Resent
	for _, n := range snap.Nodes {
		if n.Phase == "live" || n.Phase == "" {
			c.Nodes = append(c.Nodes, n.Node)
		} else {
			c.Down = append(c.Down, n.Node)
		}
	}
	return c
}

// Unwatched are those of the pods that no probe was attached to, with their nodes.
func (c *Coverage) Unwatched(pods []*identity.Pod) (keys, nodes []string) {
	for _, p := range pods {
		if p.Done || p.HostNetwork || slices.Contains(c.Watched, p.Key()) {
			continue
		}
		keys = append(keys, p.Key())
		if p.Node != "" && !slices.Contains(nodes, p.Node) {
			nodes = append(nodes, p.Node)
		}
	}
	slices.Sort(nodes)
	return keys, nodes
}

// Idle are those of the CronJobs that none of the seen flows is of.
func (l *Log) Idle(jobs []CronJob) []CronJob {
	ran := map[string]bool{}
	for _, s := range l.seen {
		for _, p := range []string{s.Source.Namespace + "/" + s.Source.Workload, s.Destination.Namespace + "/" + s.Destination.Workload} {
			ran[p] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(jobs), func(j CronJob) bool { return ran[j.Namespace+"/cronjob/"+j.Name] })
}

// Missed says in sentences what the session is known to have missed.
func (c *Coverage) Missed() []string {
	var out []string
	if len(c.Down) > 0 {
		out = append(out, fmt.Sprintf("no probe runs on %s", Some(c.Down, 5)))
	}
	if c.Lost > 0 {
		out = append(out, fmt.Sprintf("%d samples were lost: flows may be missing", c.Lost))
	}
	if c.Gaps > 0 {
		out = append(out, fmt.Sprintf("the stream was cut %d times", c.Gaps))
	}
	if c.LetGo > 0 {
		out = append(out, fmt.Sprintf("%d flows found no room", c.LetGo))
	}
	return out
}

// Some names the first few of many.
func Some(list []string, n int) string {
	out := ""
	for i, s := range list {
		if i == n {
			return fmt.Sprintf("%s and %d more", out, len(list)-n)
		}
		if i > 0 {
			out += ", "
		}
		out += s
	}
	return out
}
