// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Compiler hands out identifiers by content; see the package comment. It is
// not safe for use by several goroutines at once.
//
// It holds the last generation in tables that refer to each other, and finds
// out what another input changes: so the first generation is a change from
// nothing, and there is one way to each result.
type Compiler struct {
	contentIDs interner
	atomIDs    interner
	classIDs   interner
	setIDs     interner
	atoms      []atom // by atomID
	portAtoms  map[portAsk]atomID
	nodeAtoms  []atomID // that select nodes
	fresh      []atomID // that no pod was asked about yet
	contents   map[*policy.Policy]*pointed
	byID       map[uint32]*content
	classes    map[ruleset.ClassID]*class
	sets       map[ruleset.SetID]*set
	loose      map[*set]struct{} // may have no user any more
	nodes      map[string]*nodeState
	stamp      uint64 // counts generations
	singles    struct {
		of   uint64 // stamp
		list []netip.Prefix
	}

	strangers   strangers
	mostBits    int // of a set; fewer than there are in tests
	manyMatches int // about as many as the largest node has
	scratch     []ruleset.Match
	editScratch []ruleset.Edit[ruleset.Match]

	classScratch []*nodeClass
	orderScratch []uint64

	world
}

// New makes a compiler for one session.
func New() *Compiler {
	c := &Compiler{
		mostBits: ruleset.Bits,
		atoms:    make([]atom, 1),
		contents: map[*policy.Policy]*pointed{}, portAtoms: map[portAsk]atomID{},
		byID:    map[uint32]*content{},
		classes: map[ruleset.ClassID]*class{},
		sets:    map[ruleset.SetID]*set{},
		loose:   map[*set]struct{}{},
		nodes:   map[string]*nodeState{},
	}
	c.forgetWorld()
	return c
}

// Output is one generation. Its rulesets must be asked for before the next
// generation is compiled.
type Output struct {
	*Compiler
	generation uint64
	stamp      uint64
	changes    *changes
	pages      map[string]*ruleset.Pages
	flat       map[string]*ruleset.Ruleset
}

// Compile makes a new generation. More rules for a pod than bits don't make it
// fail, only more kinds of ports than there are numbers for: 65,535 for one pod.
// No ruleset is then changed.
func (c *Compiler) Compile(in Input) (*Output, error) {
	if c.nodesDiffer(in.World.Nodes) {
		c.forgetWorld()
	}
	c.stamp++
	ch := newChanges()
	c.addNodes(in.World)
	c.diffPolicies(in.Policies, ch)
	c.diffNamespaces(in.World, ch)
	c.diffPods(in.Pods, in.World.Pods, ch)
	c.askNames(ch)
	c.diffEndpoints(in.Endpoints, ch)
	c.diffServices(in.World.Services, ch)
	c.findPersons(ch)
	c.findStrangers(in.World)
	c.findBacked(ch)
	if err := c.findSubjects(ch); err != nil {
		c.forgetWorld() // half of it is new
		return nil, err
	}
	c.findMasks(ch)
	c.dropSets()
	return &Output{
		Compiler: c, generation: in.Generation, stamp: c.stamp, changes: ch,
		pages: map[string]*ruleset.Pages{}, flat: map[string]*ruleset.Ruleset{},
	}, nil
}

// forgetWorld makes the next generation one from nothing; identifiers stay.
func (c *Compiler) forgetWorld() {
	c.world = newWorld()
	for id := range c.atoms {
		if id > 0 && c.atoms[id].peer.Kind == policy.PodPeer {
			c.place(atomID(id)) //nolint:gosec // as many as there are
		}
	}
	c.fresh = nil
	clear(c.contents)
	for _, k := range c.byID {
		k.now = nil
		k.count.entries, k.count.current, k.count.candidate, k.count.enforced = 0, 0, 0, 0
	}
	for _, s := range c.sets {
		s.subjects = 0
		c.loose[s] = struct{}{}
	}
	for _, n := range c.nodes {
		n.stale = true
	}
}

// dropSets lets go of what neither this generation nor the last one of any
// node uses. Identifiers are not handed out again.
func (c *Compiler) dropSets() {
	for s := range c.loose {
		if s.subjects == 0 && s.nodes == 0 {
			delete(c.setIDs.ids, s.key)
			delete(c.sets, s.ID)
			for _, v := range s.parts.versions {
				delete(v.sets, s)
			}
		}
	}
	clear(c.loose)
}

// changes is what is another thing than in the generation before.
type changes struct {
	persons   map[*podState]struct{}     // may be another person
	subjects  map[*podState]struct{}     // may have other sets
	addresses map[netip.Addr]struct{}    // have another owner, or their owner is another person
	endpoints map[netip.Addr]struct{}    // have another number, owner or other sets
	services  map[*serviceEntry]struct{} // are another service, or have other backends
	backing   map[*serviceState]struct{} // may be backed by other pods
	asks      map[portAsk]struct{}       // names that stand for something else now
	newAsks   map[portAsk]struct{}
	masks     map[*set]struct{}
	claimed   bool // some address has other claims
	toggled   []*content
	sorted    []netip.Addr // addresses, in order
}

func newChanges() *changes {
	return &changes{
		persons: map[*podState]struct{}{}, subjects: map[*podState]struct{}{},
		addresses: map[netip.Addr]struct{}{}, endpoints: map[netip.Addr]struct{}{}, services: map[*serviceEntry]struct{}{},
		backing: map[*serviceState]struct{}{}, asks: map[portAsk]struct{}{}, newAsks: map[portAsk]struct{}{}, masks: map[*set]struct{}{},
	}
}

// ordered are the addresses in order.
func (ch *changes) ordered() []netip.Addr {
	if ch.sorted == nil {
		ch.sorted = slices.SortedFunc(maps.Keys(ch.addresses), netip.Addr.Compare)
	}
	return ch.sorted
}

// Names says what a set's bits stand for; of any set that this compiler's last
// two generations used. The zero value if the set isn't known.
func (o *Output) Names(id ruleset.SetID) Names {
	s := o.sets[id]
	if s == nil {
		return Names{}
	}
	return Names{Set: id, Direction: s.parts.direction, IsolateStart: int(s.IsolateStart), BaselineStart: int(s.BaselineStart), Bits: slices.Clone(s.names)}
}

// Warnings are sentences about what is coarser than it could be, in order.
func (o *Output) Warnings() []string {
	var out []string
	for _, w := range o.Coarse() {
		out = append(out, w.Text)
	}
	return out
}

// Warning is one sentence about what is coarser than it could be.
type Warning struct {
	Text     string
	Policies []*policy.Policy // whose rules are no longer told apart
}

// Coarse lists the pods whose rules were more than bits, by name.
func (o *Output) Coarse() []Warning {
	var out []Warning
	for _, ps := range slices.SortedFunc(maps.Keys(o.coarse), func(a, b *podState) int { return strings.Compare(a.key, b.key) }) {
		for _, s := range []*set{ps.ingress, ps.egress} {
			if s == nil || s.parts.merge == mergeNothing {
				continue
			}
			how := "by their policy"
			if s.parts.merge == mergeModes || s.parts.merge == mergeTiers {
				how = "as one of several policies"
			}
			w := Warning{Text: fmt.Sprintf("pod %q has more %s rules than fit: verdicts stay exact, but rules are named %s", ps.key, s.parts.direction, how)}
			for _, v := range s.parts.versions {
				w.Policies = append(w.Policies, v.policy)
			}
			out = append(out, w)
		}
	}
	return out
}

// Subject gives the sets of a pod; 0 where no policy is for it.
func (o *Output) Subject(pod *identity.Pod) (ingress, egress ruleset.SetID) {
	ps := o.pods[pod.Key()]
	if ps == nil {
		return 0, 0
	}
	return ps.ingress.id(), ps.egress.id()
}

func (s *set) id() ruleset.SetID {
	if s == nil {
		return 0
	}
	return s.ID
}

// joinErrors keeps the first three.
func joinErrors(errs []error) error {
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more pods", len(errs)-3))
	}
	return errors.Join(errs...)
}
