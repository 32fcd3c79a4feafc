// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus"
)

// The reference says what the files say, of both ends and of each.
func TestReference(t *testing.T) {
	eachStep(t, &corpus.Reference{}, func(t *testing.T, s *corpus.Step, p *corpus.Packet) {
		r := policy.NewEvaluator(s.World, s.Policies).Evaluate(p.Packet)
		if r.Verdict != p.Want {
			t.Errorf("%s\ngot %s: egress %s (%s), ingress %s (%s), %+v", p.Line, r.Verdict, r.Egress.Verdict, r.Egress.Why, r.Ingress.Verdict, r.Ingress.Why, r.Readings)
		}
		for _, end := range []struct{ got, want flow.Verdict }{{r.Egress.Verdict, p.Egress}, {r.Ingress.Verdict, p.Ingress}} {
			if end.want != flow.NotJudged && allow(end.got) != end.want {
				t.Errorf("%s\ngot egress %s, ingress %s", p.Line, r.Egress.Verdict, r.Ingress.Verdict)
			}
		}
		named := map[int]bool{}
		for _, reading := range r.Readings {
			named[int(reading.Case)] = true
		}
		for _, c := range p.Cases {
			if !named[c] {
				t.Errorf("%s\ncase %d isn't among the readings %+v", p.Line, c, r.Readings)
			}
		}
		if len(p.Cases) > 0 && len(named) != len(p.Cases) {
			t.Errorf("%s\nreadings of other cases: %+v", p.Line, r.Readings)
		}
	})
}

// The compiled tables say what the reference says.
func TestCompiled(t *testing.T) {
	asked := 0
	e := &corpus.Compiled{}
	eachStep(t, e, func(t *testing.T, s *corpus.Step, p *corpus.Packet) {
		egress, ingress, ok, err := e.Judge(p)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return
		}
		asked++
		r := policy.NewEvaluator(s.World, s.Policies).Evaluate(p.Packet)
		if egress != flow.NotJudged && egress != allow(r.Egress.Verdict) || ingress != flow.NotJudged && ingress != allow(r.Ingress.Verdict) {
			t.Errorf("%s\ncompiled says %s, %s; the reference %s, %s", p.Line, egress, ingress, r.Egress.Verdict, r.Ingress.Verdict)
		}
	})
	if asked < 200 {
		t.Errorf("only %d packets were asked", asked)
	}
}

// Every case of the table has a file.
func TestEveryCaseHasAFile(t *testing.T) {
	cases, err := corpus.All()
	if err != nil {
		t.Fatal(err)
	}
	there := map[int]bool{}
	for _, c := range cases {
		there[c.Number] = true
		if len(c.Steps) == 0 || c.About == "" {
			t.Errorf("%s: no packets, or no word what it is about", c.Name)
		}
	}
	for n := 1; n <= 38; n++ {
		if !there[n] {
			t.Errorf("case %d has no file", n)
		}
	}
}

func allow(v flow.Verdict) flow.Verdict {
	if v == flow.NotJudged {
		return flow.Allow
	}
	return v
}

func eachStep(t *testing.T, e corpus.Engine, f func(*testing.T, *corpus.Step, *corpus.Packet)) {
	t.Helper()
	cases, err := corpus.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for i := range c.Steps {
				t.Run(fmt.Sprintf("step %d", i+1), func(t *testing.T) {
					s := &c.Steps[i]
					if err := e.Prepare(s, i == 0); err != nil {
						t.Fatal(err)
					}
					for j := range s.Packets {
						f(t, s, &s.Packets[j])
					}
				})
			}
		})
	}
}
