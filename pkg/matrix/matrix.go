// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"encoding"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Answer is what policies say about one pair and port.
type Answer uint8

// The answers. The zero value means that nothing was asked: a single pod has
// nobody of its own workload to speak to.
const (
	None      Answer = 0
	Allow     Answer = 1
	Deny      Answer = 2
	Contested Answer = 3
	Mixed     Answer = 4 // depends on the pod or on the IP family
)

func (a Answer) String() string {
	return [...]string{"", "allow", "deny", "contested", "mixed"}[a]
}

// MarshalText implements [encoding.TextMarshaler].
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

var _ encoding.TextMarshaler = Answer(0)

// Input is what is asked.
type Input struct {
	World     *identity.World
	Current   []*policy.Policy
	Candidate []*policy.Policy    // nil: there is one set only
	Namespace string              // workloads of this namespace; empty: all
	Ports     []Port              // of every destination; none: those that it is known by
	Tell      func(done, all int) // how many questions are answered; nil: nobody asks
}

// Port is a port of a destination.
type Port struct {
	Protocol flow.Protocol `json:"protocol"`
	Number   uint16        `json:"port"`
	Name     string        `json:"portName,omitempty"`
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Protocol) }

// ParsePort reads "80", "53/UDP".
func ParsePort(s string) (Port, error) {
	number, protocol, ok := strings.Cut(s, "/")
	out := Port{Protocol: flow.TCP}
	if ok {
		var err error
		if out.Protocol, err = flow.ParseProtocol(protocol); err != nil {
			return Port{}, err
		}
	}
	if _, err := fmt.Sscanf(number+"\n", "%d\n", &out.Number); err != nil || out.Number == 0 || !out.Protocol.HasPorts() {
		return Port{}, fmt.Errorf("port %q: use a number from 1 to 65535, and /UDP or /SCTP if it isn't TCP", s)
	}
	return out, nil
}

// End is a row, or what a column is about.
type End struct {
	Namespace string     `json:"namespace,omitempty"`
	Workload  string     `json:"workload,omitempty"` // kind/name
	IP        netip.Addr `json:"ip,omitzero"`        // of what lies outside of the cluster

	pods []*identity.Pod // one or two of each kind that policies can tell apart
}

func (e End) String() string {
	if e.Workload == "" {
		return "outside (" + e.IP.String() + ")"
	}
	return e.Namespace + "/" + e.Workload
}

// Column is a destination's port.
type Column struct {
	To   End
	Port Port
}

func (c Column) String() string { return c.To.String() + ":" + c.Port.String() }

// Cell is what both sets say.
type Cell struct{ Current, Candidate Answer }

// Changes says whether they differ.
func (c Cell) Changes() bool { return c.Candidate != None && c.Current != c.Candidate }

// Matrix is the answers. Cells[i][j] is of Rows[i] to Columns[j].
type Matrix struct {
	Rows    []End
	Columns []Column
	Cells   [][]Cell
	Two     bool // there is a candidate
}

// outside stands for all that no selector and only the widest blocks match:
// an address that is reserved for documentation.
var outside = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}

// most bounds the questions: a few seconds of work.
const most = 4_000_000

// Build asks.
func Build(in Input) (*Matrix, error) {
	b := &builder{in: in, view: policy.NewView(in.World)}
	b.current = policy.NewEvaluatorOf(b.view, in.Current)
	if in.Candidate != nil {
		b.candidate = policy.NewEvaluatorOf(b.view, in.Candidate)
	}
	m := &Matrix{Two: in.Candidate != nil}
	m.Rows = b.ends()
	if len(m.Rows) == 0 {
		return nil, fmt.Errorf("there are no pods to ask about%s", inside(in.Namespace))
	}
	b.indexRules()
	for _, e := range m.Rows {
		for _, p := range b.ports(e) {
			m.Columns = append(m.Columns, Column{e, p})
		}
		if err := b.tooMany(m); err != nil {
			return nil, err
		}
	}
	out := End{IP: outside[0]}
	m.Rows = append(m.Rows, out)
	m.Columns = append(m.Columns, Column{out, b.outsidePort()})
	for _, from := range m.Rows {
		if in.Tell != nil {
			in.Tell(len(m.Cells)*len(m.Columns), len(m.Rows)*len(m.Columns))
		}
		row := make([]Cell, len(m.Columns))
		for j, to := range m.Columns {
			row[j] = b.cell(from, to)
		}
		m.Cells = append(m.Cells, row)
	}
	return m, nil
}

// tooMany refuses what takes too long, and says what is left to make it less.
func (b *builder) tooMany(m *Matrix) error {
	if len(m.Rows)*len(m.Columns) <= most {
		return nil
	}
	var ways []string
	if b.in.Namespace == "" {
		ways = append(ways, "choose a namespace with -n")
	}
	if len(b.in.Ports) != 1 {
		ways = append(ways, "ask for one port with --port")
	}
	ways = append(ways, "ask for some pairs with explain --queries")
	single := 0
	for _, e := range m.Rows {
		if strings.HasPrefix(e.Workload, "pod/") {
			single++
		}
	}
	return fmt.Errorf("%d workloads (%d are pods without an owner) with %d ports or more are more than %d questions: %s",
		len(m.Rows), single, len(m.Columns), most, strings.Join(ways, ", or "))
}

func inside(namespace string) string {
	if namespace == "" {
		return ""
	}
	return fmt.Sprintf(" in namespace %q", namespace)
}

type builder struct {
	in                 Input
	view               *policy.View
	current, candidate *policy.Evaluator

	ingress map[string][]*policy.Policy // that name ports, by namespace; "" is for those of the whole cluster
	egress  map[string][]*policy.Rule   // that name ports, by the namespace of their peers; "" if that is not one
}

// kinds bounds how many kinds of pods of one workload are asked for.
const kinds = 8

// ends are the workloads, by namespace and name.
func (b *builder) ends() []End {
	type key struct{ namespace, workload string }
	found := map[key]*End{}
	seen := map[string]int{}
	pods := b.in.World.SelectPods(func(p *identity.Pod) bool {
		return !p.Done && !p.HostNetwork && len(p.IPs) > 0 && (b.in.Namespace == "" || p.Namespace == b.in.Namespace)
	})
	for _, p := range pods {
		k := key{p.Namespace, p.Workload}
		e := found[k]
		if e == nil {
			e = &End{Namespace: p.Namespace, Workload: p.Workload}
			found[k] = e
		}
		// Two of each kind, since a pod always reaches itself.
		kind := fmt.Sprint(k, p.Labels, p.Ports)
		if seen[kind]++; seen[kind] <= 2 && len(e.pods) < 2*kinds {
			e.pods = append(e.pods, p)
		}
	}
	out := make([]End, 0, len(found))
	for _, e := range found {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b End) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// cell asks both sets for every pair of pods, and says where they disagree.
func (b *builder) cell(from End, to Column) Cell {
	var c Cell
	ask := func(src, dst netip.Addr) {
		p := policy.Packet{Protocol: to.Port.Protocol, Source: src, Destination: dst, Port: to.Port.Number}
		c.Current = join(c.Current, b.current.Evaluate(p).Verdict)
		if b.candidate != nil {
			c.Candidate = join(c.Candidate, b.candidate.Evaluate(p).Verdict)
		}
	}
	for _, src := range addresses(from) {
		for _, dst := range addresses(to.To) {
			if src != dst && src.Is4() == dst.Is4() && !b.samePod(src, dst) && (from.Workload != "" || to.To.Workload != "") {
				ask(src, dst)
			}
		}
	}
	return c
}

func (b *builder) samePod(x, y netip.Addr) bool {
	p := b.view.Pod(x)
	return p != nil && p == b.view.Pod(y)
}

func addresses(e End) []netip.Addr {
	if e.Workload == "" {
		return outside
	}
	var out []netip.Addr
	for _, p := range e.pods {
		out = append(out, p.IPs...)
	}
	return out
}

func join(a Answer, v flow.Verdict) Answer {
	is := Allow
	switch v {
	case flow.Deny:
		is = Deny
	case flow.Contested:
		is = Contested
	}
	if a == None || a == is {
		return is
	}
	return Mixed
}

// Changed is the matrix without rows and columns in which nothing changes.
// Cells that don't change stay, to be seen beside those that do.
func (m *Matrix) Changed() *Matrix {
	out := &Matrix{Two: m.Two}
	var columns []int
	for j := range m.Columns {
		if slices.ContainsFunc(m.Cells, func(row []Cell) bool { return row[j].Changes() }) {
			columns = append(columns, j)
			out.Columns = append(out.Columns, m.Columns[j])
		}
	}
	for i, row := range m.Cells {
		if !slices.ContainsFunc(row, Cell.Changes) {
			continue
		}
		out.Rows = append(out.Rows, m.Rows[i])
		kept := make([]Cell, 0, len(columns))
		for _, j := range columns {
			kept = append(kept, row[j])
		}
		out.Cells = append(out.Cells, kept)
	}
	return out
}

// Changes counts the cells in which the sets differ.
func (m *Matrix) Changes() int {
	n := 0
	for _, row := range m.Cells {
		for _, c := range row {
			if c.Changes() {
				n++
			}
		}
	}
	return n
}
