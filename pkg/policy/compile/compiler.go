// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Compiler hands out identifiers by content; see the package comment. It is
// not safe for use by several goroutines at once.
type Compiler struct {
	contentIDs interner
	atomIDs    interner
	classIDs   interner
	setIDs     interner
	atoms      []atom // by atomID
	contents   map[*policy.Policy]*content
	byID       map[uint32]*content
	order      []*content          // those of the last generation, in order
	stamp      uint64              // counts generations
	fixed      map[string][]atomID // peers with selectors by the namespace that they name
	wide       []atomID            // peers that select namespaces
	spaces     map[string]*space
	subjects   map[*identity.Pod]*subject
	persons    map[*identity.Pod]*person
	classes    map[ruleset.ClassID]*class
	sets       map[ruleset.SetID]*set
	nodes      map[string]*nodeState
}

// New makes a compiler for one session.
func New() *Compiler {
	return &Compiler{
		atoms:    make([]atom, 1),
		contents: map[*policy.Policy]*content{},
		byID:     map[uint32]*content{},
		fixed:    map[string][]atomID{},
		spaces:   map[string]*space{},
		classes:  map[ruleset.ClassID]*class{},
		sets:     map[ruleset.SetID]*set{},
		nodes:    map[string]*nodeState{},
	}
}

// Output is one generation.
type Output struct {
	c        *Compiler
	in       Input
	view     *policy.View
	ordered  []*version
	subjects map[*identity.Pod]*subject
	byNode   map[string][]*subject
	ids      map[netip.Addr]ruleset.EndpointID
	persons  map[*identity.Pod]*person
	universe map[portAsk][]identity.NamedPort
	asked    string     // universe as text
	now      []*version // by content id; nil: not in this generation
	done     map[string]*ruleset.Ruleset
	warnings []string

	addresses []policy.ServiceAddress // of services, in order; made when asked for
}

// subject is a pod that is judged.
type subject struct {
	pod             *identity.Pod
	ingress, egress *set // nil: no policy

	// What it was found from: while that stays, so does it.
	namespace *identity.Namespace
	policies  uint64 // signature of the policies that may select it, with modes
	names     string // what port names stand for
	services  []string
}

// Compile makes a new generation. It fails if the policies of some pod don't
// fit the rule bits in any way; nothing is then changed.
func (c *Compiler) Compile(in Input) (*Output, error) {
	o := &Output{
		c: c, in: in, view: policy.NewView(in.World), ids: in.Endpoints,
		subjects: map[*identity.Pod]*subject{}, byNode: map[string][]*subject{},
		persons: map[*identity.Pod]*person{}, done: map[string]*ruleset.Ruleset{},
	}
	o.addVersions()
	if o.ids == nil {
		o.ids = number(o.view, in.World)
	}
	o.findNames()
	if err := o.addSubjects(); err != nil {
		return nil, err
	}
	c.subjects, c.persons = o.subjects, o.persons
	c.forget(o)
	return o, nil
}

// addVersions interns the policies and puts them in order. Those of the last
// generation are in order already.
func (o *Output) addVersions() {
	c := o.c
	c.stamp++
	if len(c.contents) > 2*len(o.in.Policies)+1000 {
		c.contents = make(map[*policy.Policy]*content, len(o.in.Policies))
	}
	var added []*content
	for _, m := range o.in.Policies {
		k := c.contentOf(m.Policy)
		now := version{content: k}
		if k.stamp == c.stamp {
			now = *k.now
		} else if !k.known {
			k.known = true
			added = append(added, k)
		}
		k.stamp = c.stamp
		now.current = now.current || m.Current
		now.candidate = now.candidate || m.Candidate
		now.enforced = now.enforced || m.Enforced && m.Candidate
		if k.now == nil || *k.now != now {
			k.now = &now
		}
	}
	compare := func(a, b *content) int {
		return cmp.Or(policy.Compare(a.policy, b.policy), strings.Compare(a.text, b.text))
	}
	slices.SortFunc(added, compare)
	order := make([]*content, 0, len(c.order)+len(added))
	for _, k := range c.order {
		if k.stamp != c.stamp {
			k.known = false
			continue
		}
		for len(added) > 0 && compare(added[0], k) < 0 {
			order = append(order, added[0])
			added = added[1:]
		}
		order = append(order, k)
	}
	c.order = append(order, added...)
	o.ordered = make([]*version, len(c.order))
	o.now = make([]*version, c.contentIDs.last+1)
	for i, k := range c.order {
		o.ordered[i] = k.now
		o.now[k.id] = k.now
	}
}

// number gives endpoints to all pods, in the order of their addresses.
func number(v *policy.View, w *identity.World) map[netip.Addr]ruleset.EndpointID {
	var ips []netip.Addr
	for _, p := range w.Pods {
		for _, ip := range p.IPs {
			if v.Pod(ip) == p {
				ips = append(ips, ip)
			}
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	out := make(map[netip.Addr]ruleset.EndpointID, len(ips))
	for i, ip := range ips {
		out[ip] = ruleset.EndpointID(i + 1)
	}
	return out
}

// portAsk is a named port as a rule writes it.
type portAsk struct {
	name     string
	protocol flow.Protocol
}

// findNames collects what the port names of egress rules stand for, on all
// pods of the world.
func (o *Output) findNames() {
	o.universe = map[portAsk][]identity.NamedPort{}
	for _, v := range o.ordered {
		for _, r := range v.rules[side(flow.Egress)] {
			for _, p := range r.ports {
				if p.Name != "" {
					o.universe[portAsk{p.Name, p.Protocol}] = nil
				}
			}
		}
	}
	if len(o.universe) == 0 {
		return
	}
	for _, pod := range o.in.World.Pods {
		if pod.Done {
			continue
		}
		for _, p := range pod.Ports {
			for _, ask := range []portAsk{{p.Name, 0}, {p.Name, p.Protocol}} {
				if list, asked := o.universe[ask]; asked {
					o.universe[ask] = append(list, identity.NamedPort{Protocol: p.Protocol, Number: p.Number})
				}
			}
		}
	}
	for ask, list := range o.universe {
		o.universe[ask] = sortPorts(list)
	}
}

func sortPorts(list []identity.NamedPort) []identity.NamedPort {
	slices.SortFunc(list, func(a, b identity.NamedPort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	return slices.Compact(list)
}

// policiesFor are the policies that may select the pods of a namespace.
type policiesFor struct {
	list      []*version
	signature uint64
}

func (p *policiesFor) add(v *version) {
	p.list = append(p.list, v)
	for _, n := range []uint64{uint64(v.id), uint64(v.modes())} { // FNV-1a, by words
		p.signature = (p.signature ^ n) * 1099511628211
	}
}

// addSubjects finds the sets of every pod that is judged.
func (o *Output) addSubjects() error {
	byNamespace := map[string]*policiesFor{}
	wide := &policiesFor{signature: 14695981039346656037}
	for _, v := range o.ordered {
		ns := v.policy.Subject.Namespace
		if ns == "" {
			wide.add(v)
			continue
		}
		if byNamespace[ns] == nil {
			byNamespace[ns] = &policiesFor{signature: 14695981039346656037}
		}
		byNamespace[ns].add(v)
	}
	none := &policiesFor{}
	backed := o.backedServices()
	o.asked = o.namesSignature()
	names := o.asked
	var pods []*identity.Pod
	for _, pod := range o.in.World.Pods {
		if !o.judged(pod) {
			continue
		}
		own := cmp.Or(byNamespace[pod.Namespace], none)
		old := o.c.subjects[pod]
		if old != nil && old.namespace == o.in.World.Namespaces[pod.Namespace] && old.policies == own.signature*31+wide.signature &&
			old.names == names && slices.Equal(old.services, backed[pod]) {
			o.addSubject(old)
		} else {
			pods = append(pods, pod)
		}
	}
	// New sets get their numbers in the order of names, not of maps.
	slices.SortFunc(pods, func(a, b *identity.Pod) int { return strings.Compare(a.Key(), b.Key()) })
	var errs []error
	for _, pod := range pods {
		own := cmp.Or(byNamespace[pod.Namespace], none)
		var selecting []*version
		for _, list := range [][]*version{wide.list, own.list} {
			for _, v := range list {
				if o.view.Selects(&v.policy.Subject, pod) {
					selecting = append(selecting, v)
				}
			}
		}
		sortVersions(selecting)
		s := &subject{
			pod: pod, namespace: o.in.World.Namespaces[pod.Namespace], policies: own.signature*31 + wide.signature, names: names, services: backed[pod],
		}
		var err error
		if s.ingress, err = o.setOf(flow.Ingress, pod, selecting, nil); err == nil {
			s.egress, err = o.setOf(flow.Egress, pod, selecting, backed[pod])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("pod %q: %w", pod.Key(), err))
			continue
		}
		o.addSubject(s)
	}
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more pods", len(errs)-3))
	}
	return errors.Join(errs...)
}

func (o *Output) addSubject(s *subject) {
	o.subjects[s.pod] = s
	o.byNode[s.pod.Node] = append(o.byNode[s.pod.Node], s)
}

// namesSignature is all that port names stand for, as text.
func (o *Output) namesSignature() string {
	var list []string
	for ask, ports := range o.universe {
		list = append(list, fmt.Sprint(ask, ports))
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func sortVersions(list []*version) {
	slices.SortStableFunc(list, func(a, b *version) int { return cmp.Compare(a.policy.Tier, b.policy.Tier) })
	if slices.IsSortedFunc(list, func(a, b *version) int { return policy.Compare(a.policy, b.policy) }) {
		return
	}
	slices.SortStableFunc(list, func(a, b *version) int { return policy.Compare(a.policy, b.policy) })
}

// judged says whether an address of the pod is an endpoint.
func (o *Output) judged(pod *identity.Pod) bool {
	for _, ip := range pod.IPs {
		if o.ids[ip] != 0 && o.view.Pod(ip) == pod {
			return true
		}
	}
	return false
}

// backedServices lists the services that each pod is a backend of, as
// backedKey names them.
func (o *Output) backedServices() map[*identity.Pod][]string {
	out := map[*identity.Pod][]string{}
	done := map[string]bool{}
	for at, service := range o.view.Services() {
		key := backedKey(at, service)
		if done[key] {
			continue
		}
		done[key] = true
		local := service.Cluster && service.Service.InternalLocal
		backends := service.Backends(at.IP, "")
		for _, b := range service.Port.Backends {
			pod := o.view.Pod(b.IP)
			if pod == nil || b.IP.Is4() != at.IP.Is4() {
				continue
			}
			if local {
				backends = service.Backends(at.IP, pod.Node)
			}
			reached := slices.ContainsFunc(backends, func(x identity.Backend) bool { return x.IP == b.IP })
			if reached && !slices.Contains(out[pod], key) {
				out[pod] = append(out[pod], key)
			}
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

// backedKey names what decides who backs a service at an address: its port,
// the family, and whether connections may leave the node.
func backedKey(at policy.ServiceAddress, s policy.ServiceAt) string {
	family := "6"
	if at.IP.Is4() {
		family = "4"
	}
	if s.Cluster {
		family += "c"
	}
	return s.Service.Key() + " " + at.Protocol.String() + " " + strconv.Itoa(int(s.Port.Port)) + " " + family
}

// setOf interns the set of a pod's direction. Nil: no policy is for it.
func (o *Output) setOf(d flow.Direction, pod *identity.Pod, selecting []*version, services []string) (*set, error) {
	parts := setParts{direction: d}
	isolated := false
	for _, v := range selecting {
		isolates := v.policy.Tier == policy.Network && v.policy.Isolates(d)
		if isolates || len(v.rules[side(d)]) > 0 {
			parts.versions = append(parts.versions, v)
		}
		isolated = isolated || isolates
	}
	if len(parts.versions) == 0 {
		return nil, nil
	}
	if isolated {
		parts.services = services
	}
	parts.tied = tied(parts.versions)
	parts.named = o.namedPorts(&parts, pod)
	key := parts.key()
	id, known := o.c.setIDs.ids[key]
	if known {
		return o.c.sets[ruleset.SetID(id)], nil
	}
	s, err := o.c.newSet(parts, o.now)
	if err != nil {
		return nil, err
	}
	if s.parts.merge != mergeNothing {
		// What is merged is known only now. The modes are then part of the key.
		merged := s.parts.key()
		if id, known := o.c.setIDs.ids[merged]; known {
			return o.c.sets[ruleset.SetID(id)], nil
		}
		key = merged
		o.warnings = append(o.warnings, fmt.Sprintf("pod %q has more %s rules than fit: verdicts stay exact, but rules are named by their policy, or not at all", pod.Key(), d))
	}
	s.ID = ruleset.SetID(o.c.setIDs.id(key))
	o.c.sets[s.ID] = s
	return s, nil
}

// tied says whether ordered policies of equal priority may act differently.
func tied(versions []*version) bool {
	for i, a := range versions {
		for _, b := range versions[i+1:] {
			if a.policy.Tier != b.policy.Tier || a.policy.Priority != b.policy.Priority || a.policy.Tier == policy.Network {
				break
			}
			if a.policy.Kind != b.policy.Kind || a.policy.Name != b.policy.Name {
				return true
			}
		}
	}
	return false
}

// namedPorts resolves the port names that the set's rules use.
func (o *Output) namedPorts(parts *setParts, pod *identity.Pod) []namedPorts {
	var out []namedPorts
	for _, v := range parts.versions {
		for _, r := range v.rules[side(parts.direction)] {
			for _, p := range r.ports {
				if p.Name == "" || slices.ContainsFunc(out, func(n namedPorts) bool { return n.name == p.Name && n.protocol == p.Protocol }) {
					continue
				}
				n := namedPorts{name: p.Name, protocol: p.Protocol, numbers: o.universe[portAsk{p.Name, p.Protocol}]}
				if parts.direction == flow.Ingress {
					n.numbers = nil
					for _, port := range policy.Resolve(pod, p.Name, p.Protocol) {
						n.numbers = append(n.numbers, identity.NamedPort{Protocol: port.Protocol, Number: port.Number})
					}
					n.numbers = sortPorts(n.numbers)
				}
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b namedPorts) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol))
	})
	return out
}

// Names says what a set's bits stand for; of any set that this compiler's last
// two generations used. The zero value if the set isn't known.
func (o *Output) Names(id ruleset.SetID) Names {
	s := o.c.sets[id]
	if s == nil {
		return Names{}
	}
	return Names{Set: id, Direction: s.parts.direction, IsolateStart: int(s.IsolateStart), BaselineStart: int(s.BaselineStart), Bits: slices.Clone(s.names)}
}

// Warnings are sentences about what is coarser than it could be.
func (o *Output) Warnings() []string { return o.warnings }

// Subject gives the sets of a pod; 0 where no policy is for it.
func (o *Output) Subject(pod *identity.Pod) (ingress, egress ruleset.SetID) {
	s := o.subjects[pod]
	if s == nil {
		return 0, 0
	}
	return s.ingress.id(), s.egress.id()
}

func (s *set) id() ruleset.SetID {
	if s == nil {
		return 0
	}
	return s.ID
}

// forget lets go of what neither this generation nor the last one of any node
// uses. Identifiers are not handed out again.
func (c *Compiler) forget(o *Output) {
	used := map[ruleset.SetID]bool{}
	for _, s := range o.subjects {
		used[s.ingress.id()], used[s.egress.id()] = true, true
	}
	for _, n := range c.nodes {
		for id := range n.live {
			used[id] = true
		}
	}
	for key, id := range c.setIDs.ids {
		if !used[ruleset.SetID(id)] {
			delete(c.setIDs.ids, key)
			delete(c.sets, ruleset.SetID(id))
		}
	}
}
