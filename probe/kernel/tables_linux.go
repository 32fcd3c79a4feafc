// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// tables writes rulesets into maps. It keeps no copy of them but of the policy
// sets: those stand with each address that they judge, and each address is
// written whole, so that none is ever judged by half a set.
type tables struct {
	maps       *bpf.FlowMaps
	generation uint64
	used       map[*ebpf.Map]uint32
	local      map[netip.Addr]*local
	sets       map[ruleset.SetID]*bpf.FlowSet
	filter     [64]uint64 // of service addresses, as the programs have it
	setFilter  func(any) error
}

// local is an address that is watched, judged, or both.
type local struct {
	watched uint32 // endpoint id; 0: not watched
	young   uint32 // monotonic seconds; see [young]
	rule    ruleset.Endpoint
}

// entry is one put or delete, in the kernel's form.
type entry struct {
	m          *ebpf.Map
	what       string
	key, value any
}

// Generation of the ruleset that judges; 0: none.
func (k *Kernel) Generation() uint64 { return k.tables.generation }

// Apply brings the tables from one generation to the next. From then on each
// packet is judged by the new one; silent connections are by the next scan.
func (k *Kernel) Apply(d *ruleset.Delta) error {
	defer k.size.writes.Add(1)
	t := &k.tables
	if d.From != 0 && d.From != t.generation {
		return fmt.Errorf("delta starts at generation %d, the kernel is at %d: send it whole, from 0", d.From, t.generation)
	}
	if err := d.Validate(); err != nil {
		return err
	}
	puts := t.puts(d)
	if err := t.room(puts, d.PutEndpoints); err != nil {
		return err
	}
	if err := t.write(d, puts); err != nil {
		t.generation = 0
		return fmt.Errorf("%w: send the ruleset whole, from 0", err)
	}
	t.generation = d.Generation
	if err := k.bump(); err != nil {
		return err
	}
	k.stale.Store(true)
	return nil
}

// puts are steps 1 and 2 of [ruleset.Delta].
func (t *tables) puts(d *ruleset.Delta) []entry {
	m := t.maps
	all := make([]entry, 0, len(d.PutPorts)+len(d.PutPortRanges)+len(d.PutMatches)+len(d.PutPeers)+len(d.PutServices))
	for _, p := range d.PutPorts {
		all = append(all, entry{m.Ports, "ports", portKey(p), uint32(p.Class)})
	}
	for _, p := range d.PutPortRanges {
		all = append(all, entry{m.Ranges, "port ranges", rangeKey(p), uint32(p.Class)})
	}
	for i := range d.PutMatches {
		v := &d.PutMatches[i]
		all = append(all, entry{m.Matches, "matches", matchKey(v), matchValue(v)})
	}
	for _, p := range d.PutPeers {
		e := t.peer(p.Prefix)
		e.value = bpf.FlowPeer{Class: uint32(p.Class), Flags: uint32(p.Flags)}
		all = append(all, e)
	}
	for _, s := range d.PutServices {
		all = append(all, entry{m.Services, "services", serviceKey(s), bpf.FlowService{Class: uint32(s.Class)}})
	}
	return all
}

// room fails if an entry too many would be written to some map.
func (t *tables) room(puts []entry, endpoints []ruleset.Endpoint) error {
	fresh := make(map[*ebpf.Map]uint32)
	for _, e := range puts {
		fresh[e.m]++
	}
	for m, n := range fresh {
		if t.used[m]+n <= m.MaxEntries() {
			continue
		}
		// Only now is it worth asking which of them are there already.
		n, what := uint32(0), ""
		for _, e := range puts {
			if e.m == m {
				what = e.what
				if errors.Is(lookup(e), ebpf.ErrKeyNotExist) {
					n++
				}
			}
		}
		if t.used[m]+n > m.MaxEntries() {
			return fmt.Errorf("%d %s are more than the %d that a node holds: select fewer pods or nodes for this session",
				t.used[m]+n, what, m.MaxEntries())
		}
	}
	for _, e := range endpoints {
		if t.local[e.IP] == nil {
			fresh[t.maps.Endpoints]++
		}
	}
	if n, most := len(t.local)+int(fresh[t.maps.Endpoints]), int(t.maps.Endpoints.MaxEntries()); n > most {
		return fmt.Errorf("%d pod addresses are more than the %d that a node holds: select fewer pods for this session", n, most)
	}
	return nil
}

func lookup(e entry) error {
	b, err := e.m.LookupBytes(e.key)
	if err == nil && b == nil {
		return ebpf.ErrKeyNotExist
	}
	return err
}

// filterServices lets the programs look for these services: before they are
// there. Bits stay when services go, until a ruleset comes whole.
func (t *tables) filterServices(list []ruleset.Service) error {
	old := t.filter
	for _, s := range list {
		w := addr(s.IP).Word
		bit := ((w[3] ^ w[2] ^ w[1]) * 0x9e3779b1) >> 20
		t.filter[bit/64] |= 1 << (bit % 64)
	}
	if t.filter == old {
		return nil
	}
	return t.setFilter(t.filter[:])
}

func (t *tables) write(d *ruleset.Delta, puts []entry) error {
	if err := t.filterServices(d.PutServices); err != nil {
		return err
	}
	for _, e := range puts {
		if err := t.put(e); err != nil {
			return err
		}
	}
	if err := t.writeSets(d); err != nil {
		return err
	}
	if d.From == 0 {
		return t.sweep(d, puts)
	}
	for _, ip := range d.DelEndpoints {
		if err := t.unrule(ip); err != nil {
			return err
		}
	}
	for _, e := range t.dels(d) {
		if err := t.del(e); err != nil {
			return err
		}
	}
	for _, s := range d.DelSets {
		delete(t.sets, s)
	}
	return nil
}

// dels is step 4 of [ruleset.Delta] after the endpoints.
func (t *tables) dels(d *ruleset.Delta) []entry {
	m := t.maps
	var all []entry
	for _, s := range d.DelServices {
		all = append(all, entry{m: m.Services, what: "services", key: serviceKey(s)})
	}
	for _, p := range d.DelPeers {
		all = append(all, t.peer(p))
	}
	for i := range d.DelMatches {
		all = append(all, entry{m: m.Matches, what: "matches", key: matchKey(&d.DelMatches[i])})
	}
	for _, p := range d.DelPortRanges {
		all = append(all, entry{m: m.Ranges, what: "port ranges", key: rangeKey(p)})
	}
	for _, p := range d.DelPorts {
		all = append(all, entry{m: m.Ports, what: "ports", key: portKey(p)})
	}
	return all
}

func (t *tables) put(e entry) error {
	err := e.m.Update(e.key, e.value, ebpf.UpdateNoExist)
	if err == nil {
		t.used[e.m]++
		return nil
	}
	if errors.Is(err, ebpf.ErrKeyExist) {
		err = e.m.Update(e.key, e.value, ebpf.UpdateAny)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", e.what, err)
	}
	return nil
}

func (t *tables) del(e entry) error {
	err := e.m.Delete(e.key)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", e.what, err)
	}
	t.used[e.m]--
	return nil
}

// sweep deletes what a whole ruleset doesn't have.
func (t *tables) sweep(d *ruleset.Delta, puts []entry) error {
	ruled := make(map[netip.Addr]bool, len(d.PutEndpoints))
	for _, e := range d.PutEndpoints {
		ruled[e.IP] = true
	}
	for ip, l := range t.local {
		if l.rule.ID != 0 && !ruled[ip] {
			if err := t.unrule(ip); err != nil {
				return err
			}
		}
	}
	want := make(map[*ebpf.Map]map[string]bool)
	for _, e := range puts {
		if want[e.m] == nil {
			want[e.m] = make(map[string]bool)
		}
		want[e.m][string(raw(e.key))] = true
	}
	m := t.maps
	for _, table := range []*ebpf.Map{m.Services, m.Peers, m.Cidrs4, m.Cidrs6, m.Matches, m.Ranges, m.Ports} {
		var old [][]byte
		key, value := make([]byte, table.KeySize()), make([]byte, table.ValueSize())
		it := table.Iterate()
		for it.Next(&key, &value) {
			if !want[table][string(key)] {
				old = append(old, append([]byte(nil), key...))
			}
		}
		if err := it.Err(); err != nil {
			return fmt.Errorf("read what is there: %w", err)
		}
		for _, key := range old {
			if err := t.del(entry{m: table, what: "what is left of the last ruleset", key: key}); err != nil {
				return err
			}
		}
	}
	put := make(map[ruleset.SetID]bool, len(d.PutSets))
	for i := range d.PutSets {
		put[d.PutSets[i].ID] = true
	}
	for id := range t.sets {
		if !put[id] {
			delete(t.sets, id)
		}
	}
	t.filter = [64]uint64{} // the services of before are gone
	return t.filterServices(d.PutServices)
}
