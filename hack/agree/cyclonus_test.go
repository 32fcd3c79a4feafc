// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

var (
	worlds = flag.Int("worlds", 400, "how many worlds to generate")
	seed   = flag.Uint64("seed", 1, "where to begin")
)

// TestCyclonus compares both ends of every packet with cyclonus' matcher.
func TestCyclonus(t *testing.T) {
	packets := 0
	for i := range *worlds {
		m := maker{rand.New(rand.NewPCG(*seed, uint64(i)))}
		w := m.world()
		var objects []*networkingv1.NetworkPolicy
		for j := range 1 + m.IntN(4) {
			objects = append(objects, m.networkPolicy(j))
		}
		packets += compareWithCyclonus(t, m, w, objects)
	}
	t.Logf("%d worlds, %d packets", *worlds, packets)
}

// TestCyclonusGenerator does the same with the policies that cyclonus' own
// generator makes for its tests of network plugins.
func TestCyclonusGenerator(t *testing.T) {
	cases := generator.NewTestCaseGenerator(true, "10.0.1.2", namespaces, nil, nil).GenerateAllTestCases()
	packets, policies := 0, 0
	for i, c := range cases {
		m := maker{rand.New(rand.NewPCG(*seed, uint64(i)))}
		w := m.world()
		for _, ns := range w.Namespaces { // the vocabulary of that generator
			ns.Labels["ns"] = ns.Name
		}
		for _, p := range w.Pods {
			p.Labels["pod"], p.Ports = pick(m, "a", "b", "c"), nil
			for _, port := range []uint16{80, 81} {
				for _, proto := range []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP} {
					if m.half() {
						p.Ports = append(p.Ports, identity.NamedPort{Name: fmt.Sprintf("serve-%d-%s", port, lower(proto)), Protocol: proto, Number: port})
					}
				}
			}
		}
		var objects []*networkingv1.NetworkPolicy
		for _, s := range c.Steps {
			for _, a := range s.Actions {
				if a.CreatePolicy != nil {
					objects = append(objects, a.CreatePolicy.Policy)
				}
			}
		}
		policies += len(objects)
		packets += compareWithCyclonus(t, m, w, objects)
	}
	t.Logf("%d cases, %d policies, %d packets", len(cases), policies, packets)
	if len(cases) < 100 {
		t.Errorf("only %d cases: cyclonus' generator makes more", len(cases))
	}
}

func lower(p flow.Protocol) string {
	return map[flow.Protocol]string{flow.TCP: "tcp", flow.UDP: "udp", flow.SCTP: "sctp"}[p]
}

func compareWithCyclonus(t *testing.T, m maker, w *identity.World, objects []*networkingv1.NetworkPolicy) int {
	t.Helper()
	var policies []*policy.Policy
	for _, o := range objects {
		p, err := policy.FromNetworkPolicy(o)
		if err != nil {
			t.Fatalf("%v\n%s", err, text(objects))
		}
		policies = append(policies, p)
	}
	ours, theirs := policy.NewEvaluator(w, policies), matcher.BuildNetworkPolicies(m.half(), objects)
	packets := m.packets(w)
	for _, packet := range packets {
		got := ours.Evaluate(packet)
		want := theirs.IsTrafficAllowed(traffic(ours.View(), &packet))
		for _, end := range []struct {
			name     string
			verdict  flow.Verdict
			readings []policy.Reading
			allowed  bool
		}{
			{"egress", got.Egress.Verdict, got.Egress.Readings, want.Egress.IsAllowed()},
			{"ingress", got.Ingress.Verdict, got.Ingress.Readings, want.Ingress.IsAllowed()},
			{"both ends", got.Verdict, got.Readings, want.IsAllowed()},
		} {
			if allows(t, end.verdict, end.readings) != end.allowed {
				t.Fatalf("%s of %+v: we say %s, cyclonus says allowed=%t\n%s", end.name, packet, end.verdict, end.allowed, text(objects))
			}
		}
	}
	return len(packets)
}

// allows settles a contested verdict by the specification's words.
func allows(t *testing.T, v flow.Verdict, readings []policy.Reading) bool {
	t.Helper()
	if v != flow.Contested {
		return v != flow.Deny
	}
	if len(readings) != 2 || readings[0].Case != policy.CaseBlockCoversPods {
		t.Fatalf("contested over something else than case 11: %+v", readings)
	}
	return readings[0].Verdict == flow.Allow
}

func traffic(v *policy.View, p *policy.Packet) *matcher.Traffic {
	out := &matcher.Traffic{
		Source:      &matcher.TrafficPeer{IP: p.Source.String(), Internal: internal(v, v.Pod(p.Source))},
		Destination: &matcher.TrafficPeer{IP: p.Destination.String(), Internal: internal(v, v.Pod(p.Destination))},
		Protocol:    corev1.Protocol(p.Protocol.String()), ResolvedPort: int(p.Port),
	}
	if pod := v.Pod(p.Destination); pod != nil {
		for _, port := range pod.Ports {
			if port.Number == p.Port && port.Protocol == p.Protocol {
				out.ResolvedPortName = port.Name
			}
		}
	}
	return out
}

func internal(v *policy.View, p *identity.Pod) *matcher.InternalPeer {
	if p == nil {
		return nil
	}
	return &matcher.InternalPeer{PodLabels: p.Labels, Namespace: p.Namespace, NamespaceLabels: v.NamespaceLabels(p.Namespace)}
}

func text[T any](objects []T) string {
	out := ""
	for _, o := range objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			return err.Error()
		}
		out += "---\n" + string(b)
	}
	return out
}
