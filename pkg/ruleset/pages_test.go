// SPDX-License-Identifier: Apache-2.0

package ruleset_test

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	. "github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// A paged ruleset differs from another one in what the flat ones differ in.
func TestPagesDifferAsRulesetsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := drawRuleset(t, 1), drawRuleset(t, 2)
		want, err := Diff(old, new)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DiffPages(old.Pages(), new.Pages())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
		if again := new.Pages().Ruleset(); dump(again) != dump(new) {
			t.Fatalf("there and back:\n%s", dump(again))
		}
	})
}

func TestDiffPagesRefusesAChangedSet(t *testing.T) {
	old, new := world(), world()
	new.Sets[0].Always.Add(101)
	if _, err := DiffPages(old.Pages(), new.Pages()); err == nil {
		t.Error("no error")
	}
}

// Edits lead to what the same changes of a map lead to, from any list, and the
// difference between any two is what brings one to the other.
func TestListIsASortedMap(t *testing.T) {
	byPort := func(a, b Port) int { return int(a.Port) - int(b.Port) }
	rapid.Check(t, func(t *rapid.T) {
		model := map[uint16]PortClass{}
		var list List[Port]
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			before, was := list, maps.Clone(model)
			var edits []Edit[Port]
			for range rapid.SampledFrom([]int{0, 1, 2, 100, 900}).Draw(t, "edits") {
				e := Edit[Port]{Value: Port{Set: 1, Port: uint16(rapid.IntRange(0, 700).Draw(t, "port"))}, Delete: rapid.IntRange(0, 2).Draw(t, "delete") == 0}
				if !e.Delete {
					e.Value.Class = PortClass(rapid.IntRange(1, 3).Draw(t, "class"))
					model[e.Value.Port] = e.Value.Class
				} else {
					delete(model, e.Value.Port)
				}
				edits = append(edits, e)
			}
			// Long runs, so that there are several parts, and some of them go.
			if step := rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "run"); step > 0 {
				gone, from := rapid.Bool().Draw(t, "gone"), rapid.IntRange(0, 9000).Draw(t, "from")
				for port := from; port < from+4000*step; port += step {
					e := Edit[Port]{Value: Port{Set: 1, Port: uint16(port), Class: 4}, Delete: gone}
					edits = append(edits, e)
					if model[uint16(port)] = 4; gone {
						delete(model, uint16(port))
					}
				}
			}
			list = list.Edit(edits, byPort)
			if low := rapid.IntRange(0, 9000).Draw(t, "low"); rapid.Bool().Draw(t, "replace") {
				high := low + rapid.SampledFrom([]int{0, 1, 100, 5000}).Draw(t, "width")
				var run []Port
				for range rapid.SampledFrom([]int{0, 0, 1, 90, 3000}).Draw(t, "replacements") {
					if port := low + 3*len(run); port < high {
						run = append(run, Port{Set: 1, Port: uint16(port), Class: 5})
					}
				}
				list = list.Replace(Port{Port: uint16(low)}, Port{Port: uint16(high)}, run, byPort)
				maps.DeleteFunc(model, func(port uint16, _ PortClass) bool { return int(port) >= low && int(port) < high })
				for _, p := range run {
					model[p.Port] = p.Class
				}
			}
			checkList(t, list, model, byPort)
			checkList(t, before, was, byPort)
			d, err := DiffPages(&Pages{Ports: before}, &Pages{Ports: list})
			if err != nil {
				t.Fatal(err)
			}
			fresh := slices.Collect(list.Fresh(before, byPort))
			for _, p := range d.PutPorts {
				if _, is := slices.BinarySearchFunc(fresh, p, byPort); !is {
					t.Fatalf("%+v isn't fresh among %v", p, fresh)
				}
			}
			if n := len(slices.Collect(list.Fresh(list, byPort))); n > 0 {
				t.Fatalf("%d entries of a list are fresh to itself", n)
			}
			for _, p := range d.DelPorts {
				delete(was, p.Port)
			}
			for _, p := range d.PutPorts {
				if was[p.Port] == p.Class {
					t.Fatalf("%+v is put, but was there", p)
				}
				was[p.Port] = p.Class
			}
			if !maps.Equal(was, model) {
				t.Fatalf("the difference leads to %v, want %v", was, model)
			}
		}
	})
}

func checkList(t *rapid.T, list List[Port], model map[uint16]PortClass, compare func(a, b Port) int) {
	got := list.Slice()
	if len(got) != len(model) || list.Len() != len(model) || !slices.IsSortedFunc(got, compare) || !slices.Equal(got, slices.Collect(list.All())) {
		t.Fatalf("%d entries, counted %d, want %d", len(got), list.Len(), len(model))
	}
	for _, p := range got {
		if model[p.Port] != p.Class || list.Get(Port{Port: p.Port}, compare) == nil {
			t.Fatalf("%+v is not in the model, or not found", p)
		}
	}
	if list.Get(Port{Port: 60000}, compare) != nil {
		t.Fatal("found what isn't there")
	}
}

// Pages are judged by as they are, and say what the index says.
func TestPagesJudgeAsTheIndexDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRuleset(t, 1)
		index, pages := NewTable(r), r.Pages().Table()
		for range 40 {
			ip := func(label string) netip.Addr {
				host := byte(rapid.IntRange(0, 9).Draw(t, label))
				if rapid.Bool().Draw(t, "v6") {
					return netip.AddrFrom16([16]byte{0: 0xfd, 15: host})
				}
				return netip.AddrFrom4([4]byte{10, 0, 0, host})
			}
			p := Packet{
				Direction: flow.Direction(rapid.IntRange(1, 2).Draw(t, "direction")), Protocol: rapid.SampledFrom([]flow.Protocol{flow.TCP, flow.UDP}).Draw(t, "protocol"),
				Local: ip("local"), Peer: ip("peer"), Port: rapid.SampledFrom([]uint16{0, 1, 2, 53, 8192}).Draw(t, "port"),
			}
			if got, want := pages.Judge(p), index.Judge(p); got != want {
				t.Fatalf("%+v: pages say %+v, the index %+v", p, got, want)
			}
		}
	})
}
