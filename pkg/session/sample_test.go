// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// onlyCart lets cart speak to db, and nobody else.
const onlyCart = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 5432}]}]
`

func shopOf(t *testing.T, text string) State {
	t.Helper()
	o, err := policy.Parse([]byte(text), "db.yaml")
	if err != nil {
		t.Fatal(err)
	}
	labelled := func(name, ip string) *identity.Pod {
		p := pod("shop", name, "n1", ip)
		p.Labels = map[string]string{"app": name}
		return p
	}
	return State{World: worldOf(labelled("db", "10.0.0.1"), labelled("cart", "10.0.0.2"), labelled("web", "10.0.0.3")), Policies: o.Policies}
}

// kernelSays is a connection to db as rules judge it.
func kernelSays(id uint64, endpoint uint32, r *ruleset.Ruleset, from string, port uint16) *wire.Flow {
	local, peer := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(from)
	j := ruleset.NewTable(r).Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: local, Peer: peer, Port: port})
	return &wire.Flow{
		Id: id, Kind: wire.Flow_NEW, Endpoint: endpoint, Direction: uint32(flow.Ingress), Protocol: uint32(flow.TCP),
		LocalIp: wire.AddrBytes(local), PeerIp: wire.AddrBytes(peer), LocalPort: uint32(port), PeerPort: 40000, Set: uint32(j.Set),
		Verdict: uint32(j.Current.Verdict), Bit: uint32(j.Current.Bit + 1), Candidate: uint32(j.Candidate.Verdict), CandidateBit: uint32(j.Candidate.Bit + 1),
	}
}

// verifying is a session of the real compiler on one node that settled.
func verifying(t *testing.T) (*bed, *toyProbe, uint32) {
	t.Helper()
	b := newBed(t, Config{NewCompiler: PolicyCompiler, Program: "kubectl-ebpol v0.0.0"}, "n1")
	b.cluster.states <- shopOf(t, onlyCart)
	p := b.probes["n1"]
	p.fake.AwaitGeneration(1)
	p.fake.AwaitEndpoints(3)
	for _, e := range p.fake.Endpoints() {
		if ip, _ := wire.Addr(e.GetIps()[0]); ip == netip.MustParseAddr("10.0.0.1") {
			return b, p, e.GetId()
		}
	}
	t.Fatal("db is no endpoint")
	return nil, nil, 0
}

// settle lets the rules be in effect for long enough.
func (b *bed) settle(p *toyProbe, endpoint uint32) {
	synctest.Wait()                                                        // the session has heard by now that the probe has them
	p.fake.See(kernelSays(1<<40, endpoint, p.fake.Rules(), "10.0.0.2", 1)) // from now on it is known since when
	synctest.Wait()
	time.Sleep(quietFor + time.Second)
}

// warnings are the texts with some words that the session warned with so far.
func (b *bed) warnings(with string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.frames {
		if n := f.GetNotice(); n.GetLevel() == wire.Notice_WARN && strings.Contains(n.GetText(), with) {
			out = append(out, n.GetText())
		}
	}
	return out
}

func TestKernelsVerdictsAreVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		b, p, db := verifying(t)
		b.settle(p, db)
		for i, from := range []string{"10.0.0.2", "10.0.0.3", "8.8.8.8"} {
			for j, port := range []uint16{5432, 80} {
				p.fake.See(kernelSays(uint64(10*i+j+1), db, p.fake.Rules(), from, port))
			}
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if agreed, compared := b.live.Verified(); agreed != 6 || compared != 6 {
			t.Errorf("%d of %d agree, want all of 6", agreed, compared)
		}
		if w := b.warnings("bug of ours"); len(w) != 0 {
			t.Errorf("a false alarm: %q", w)
		}
		b.close()
	})
}

// A kernel that judges by a wrong mask is found, told once, and written down.
func TestWrongMaskIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		t.Chdir(dir)
		b, p, db := verifying(t)
		b.settle(p, db)
		wrong := *p.fake.Rules()
		wrong.Sets = append([]ruleset.Set(nil), wrong.Sets...)
		for i := range wrong.Sets {
			wrong.Sets[i].Current = ruleset.Bitmap{} // as if the cluster had no policies
		}
		for i := range uint64(5) {
			p.fake.See(kernelSays(i+1, db, &wrong, "10.0.0.3", 5432))
		}
		b.await(func(f *wire.Frame) bool { return strings.Contains(f.GetNotice().GetText(), "bug of ours") })
		time.Sleep(time.Second)
		synctest.Wait()
		w := b.warnings("bug of ours")
		if len(w) != 1 || !strings.Contains(w[0], "the kernel says allow, and deny in the dry-run; the reference deny, and deny") {
			t.Fatalf("warnings: %q", w)
		}
		if agreed, compared := b.live.Verified(); agreed != 0 || compared != 5 {
			t.Errorf("%d of %d agree", agreed, compared)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "ebpol-disagreement-*.txt"))
		if len(files) != 1 || !strings.Contains(w[0], filepath.Base(files[0])) {
			t.Fatalf("files %q, told %q", files, w)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"kubectl-ebpol v0.0.0", "10.0.0.3:40000", "pod shop/web on node n1", "app:web", "# The set, generation 1", "isolated by shop/db", "matchLabels: {app: cart}", "selects the pod true"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the report lacks %q:\n%s", want, text)
			}
		}
		b.close()
	})
}

// What was judged by rules that have just gone is no disagreement.
func TestVerdictsOfOldRulesAreNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		b, p, db := verifying(t)
		b.settle(p, db)
		old := p.fake.Rules()
		b.cluster.states <- shopOf(t, strings.Replace(onlyCart, "app: cart", "app: web", 1))
		p.fake.AwaitGeneration(2)
		for i := range uint64(20) { // told late, for a while
			p.fake.See(kernelSays(100+i, db, old, "10.0.0.2", 5432), kernelSays(200+i, db, p.fake.Rules(), "10.0.0.2", 5432))
			time.Sleep(quietFor / 25)
		}
		synctest.Wait()
		if w := b.warnings("bug of ours"); len(w) != 0 {
			t.Errorf("a false alarm: %q", w)
		}
		time.Sleep(quietFor)
		for i := range uint64(200) {
			p.fake.See(kernelSays(1000+i, db, p.fake.Rules(), fmt.Sprintf("10.0.0.%d", 2+i%2), 5432))
		}
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if agreed, compared := b.live.Verified(); agreed != compared || compared == 0 || compared > 2*verifyMost {
			t.Errorf("%d of %d agree; at most %d a second are asked", agreed, compared, verifyMost)
		}
		b.close()
	})
}
