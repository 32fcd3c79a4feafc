// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// servicesIndex knows the services by what can be asked about them.
type servicesIndex struct {
	services   map[string]*serviceState // by key
	entries    map[policy.ServiceAddress]*serviceEntry
	atIP       map[netip.Addr]map[*serviceEntry]struct{}
	backends   map[netip.Addr]map[*serviceState]struct{} // by address of a backend
	backing    map[string]map[*serviceEntry]struct{}     // by backedKey
	byPort     map[portAt]map[*serviceEntry]struct{}     // by ports of backends
	servedList []netip.Addr                              // of atIP and backends; nil: to be put in order again
}

func newServicesIndex() servicesIndex {
	return servicesIndex{
		services: map[string]*serviceState{}, entries: map[policy.ServiceAddress]*serviceEntry{},
		atIP: map[netip.Addr]map[*serviceEntry]struct{}{}, backends: map[netip.Addr]map[*serviceState]struct{}{},
		backing: map[string]map[*serviceEntry]struct{}{}, byPort: map[portAt]map[*serviceEntry]struct{}{},
	}
}

// serviceState is a service and where it stands in the index.
type serviceState struct {
	key     string
	service *identity.Service
	entries []*serviceEntry // that it claims, each once
	backers map[*podState]struct{}
}

// serviceEntry is an address at which services answer. If several claim it,
// the first by name has it.
type serviceEntry struct {
	at     policy.ServiceAddress
	claims []serviceClaim // in order; none: it is gone
	key    string         // backedKey of the first claim
	ports  []uint16       // of its backends
}

type serviceClaim struct {
	*serviceState
	port    *identity.ServicePort
	order   int // among the service's own claims of the address
	cluster bool
}

func (e *serviceEntry) serviceAt() policy.ServiceAt {
	return policy.ServiceAt{Service: e.claims[0].service, Port: e.claims[0].port, Cluster: e.claims[0].cluster}
}

// served are the addresses of services and of backends, in order.
func (c *Compiler) served() []netip.Addr {
	if c.servedList == nil {
		list := slices.AppendSeq(make([]netip.Addr, 0, len(c.atIP)+len(c.backends)), maps.Keys(c.atIP))
		list = slices.AppendSeq(list, maps.Keys(c.backends))
		slices.SortFunc(list, netip.Addr.Compare)
		c.servedList = slices.Compact(list)
	}
	return c.servedList
}

// diffServices finds the services that came, went or changed.
func (c *Compiler) diffServices(now map[string]*identity.Service, ch *changes) {
	old := c.last.Services
	c.last.Services = now
	if identity.SameMap(old, now) {
		return
	}
	kept := 0
	for key, s := range now {
		st := c.services[key]
		if st != nil {
			kept++
			if st.service == s {
				continue
			}
			c.removeService(st, ch)
		}
		c.addService(key, s, ch)
	}
	if kept == len(old) {
		return
	}
	for key, st := range c.services {
		if now[key] == nil {
			c.removeService(st, ch)
		}
	}
}

func (c *Compiler) addService(key string, s *identity.Service, ch *changes) {
	c.servedList = nil
	st := &serviceState{key: key, service: s, backers: map[*podState]struct{}{}}
	c.services[key] = st
	ch.backing[st] = struct{}{}
	order := 0
	for i := range s.Ports {
		port := &s.Ports[i]
		for _, b := range port.Backends {
			join(c.backends, b.IP, st)
		}
		claim := func(ip netip.Addr, number uint16, cluster bool) {
			if number != 0 && ip.IsValid() {
				order++
				c.claim(policy.ServiceAddress{IP: ip, Protocol: port.Protocol, Port: number}, serviceClaim{st, port, order, cluster}, ch)
			}
		}
		for _, ip := range s.IPs {
			claim(ip, port.Port, true)
		}
		for _, ip := range s.ExternalIPs {
			claim(ip, port.Port, false)
		}
		if port.NodePort != 0 {
			for _, ip := range c.nodeIPs {
				claim(ip, port.NodePort, false)
			}
		}
	}
}

func join[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]struct{}{}
	}
	m[k][v] = struct{}{}
}

func part[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	if delete(m[k], v); len(m[k]) == 0 {
		delete(m, k)
	}
}

func (c *Compiler) claim(at policy.ServiceAddress, claim serviceClaim, ch *changes) {
	e := c.entries[at]
	if e == nil {
		e = &serviceEntry{at: at}
		c.entries[at] = e
		join(c.atIP, at.IP, e)
	}
	c.unfile(e)
	i, _ := slices.BinarySearchFunc(e.claims, claim, func(a, b serviceClaim) int {
		return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.order, b.order))
	})
	e.claims = slices.Insert(e.claims, i, claim)
	if !slices.Contains(claim.entries, e) {
		claim.entries = append(claim.entries, e)
	}
	c.file(e, ch)
}

// unfile takes an entry out of the indexes that go by who answers there.
func (c *Compiler) unfile(e *serviceEntry) {
	if len(e.claims) == 0 {
		return
	}
	part(c.servicesIndex.backing, e.key, e)
	for _, p := range e.ports {
		part(c.byPort, portAt{e.at.Protocol, p}, e)
	}
}

func (c *Compiler) file(e *serviceEntry, ch *changes) {
	ch.services[e] = struct{}{}
	if len(e.claims) == 0 {
		return
	}
	e.key = backedKey(e.at, e.serviceAt())
	join(c.servicesIndex.backing, e.key, e)
	e.ports = e.ports[:0]
	for _, b := range e.claims[0].port.Backends {
		if !slices.Contains(e.ports, b.Port) {
			e.ports = append(e.ports, b.Port)
			join(c.byPort, portAt{e.at.Protocol, b.Port}, e)
		}
	}
	ch.backing[e.claims[0].serviceState] = struct{}{}
}

func (c *Compiler) removeService(st *serviceState, ch *changes) {
	c.servedList = nil
	delete(c.services, st.key)
	for i := range st.service.Ports {
		for _, b := range st.service.Ports[i].Backends {
			part(c.backends, b.IP, st)
		}
	}
	for _, e := range st.entries {
		c.unfile(e)
		e.claims = slices.DeleteFunc(e.claims, func(x serviceClaim) bool { return x.serviceState == st })
		c.file(e, ch)
		if len(e.claims) == 0 {
			delete(c.entries, e.at)
			part(c.atIP, e.at.IP, e)
		}
	}
	delete(ch.backing, st)
	for ps := range st.backers {
		delete(ps.backs, st)
		c.settleBacked(ps, ch)
	}
}

// findBacked finds again which pods back the services that changed, or whose
// backends' addresses did.
func (c *Compiler) findBacked(ch *changes) {
	for st := range ch.backing {
		if c.services[st.key] != st {
			continue
		}
		now := c.backersOf(st)
		for ps := range st.backers {
			if now[ps] == nil {
				delete(st.backers, ps)
				delete(ps.backs, st)
				c.settleBacked(ps, ch)
			}
		}
		for ps, keys := range now {
			if slices.Equal(ps.backs[st], keys) {
				continue
			}
			if ps.backs == nil {
				ps.backs = map[*serviceState][]string{}
			}
			ps.backs[st] = keys
			st.backers[ps] = struct{}{}
			c.settleBacked(ps, ch)
		}
	}
}

func (c *Compiler) settleBacked(ps *podState, ch *changes) {
	var now []string
	for _, keys := range ps.backs {
		now = append(now, keys...)
	}
	slices.Sort(now)
	if now = slices.Compact(now); !slices.Equal(now, ps.backed) {
		ps.backed = now
		ch.subjects[ps] = struct{}{}
	}
}

// backersOf lists what pods back of a service, as backedKey names it, sorted.
func (c *Compiler) backersOf(st *serviceState) map[*podState][]string {
	out := map[*podState][]string{}
	done := map[string]bool{}
	for _, e := range st.entries {
		if len(e.claims) == 0 || e.claims[0].serviceState != st || done[e.key] {
			continue
		}
		done[e.key] = true
		service := e.serviceAt()
		local := service.Cluster && service.Service.InternalLocal
		reached := map[string]map[netip.Addr]bool{}
		reaches := func(node string, ip netip.Addr) bool {
			if reached[node] == nil {
				reached[node] = map[netip.Addr]bool{}
				for _, b := range service.Backends(e.at.IP, node) {
					reached[node][b.IP] = true
				}
			}
			return reached[node][ip]
		}
		for _, b := range service.Port.Backends {
			ps := c.owner(b.IP)
			if ps == nil || b.IP.Is4() != e.at.IP.Is4() {
				continue
			}
			from := ""
			if local {
				from = ps.pod.Node
			}
			if reaches(from, b.IP) && !slices.Contains(out[ps], e.key) {
				out[ps] = append(out[ps], e.key)
			}
		}
	}
	for _, keys := range out {
		slices.Sort(keys)
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

// portAt is where a backend listens.
type portAt struct {
	protocol flow.Protocol
	port     uint16
}
