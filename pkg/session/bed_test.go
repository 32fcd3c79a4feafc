// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
	"github.com/ebpol/kubectl-ebpol/probe/serve/servetest"
)

// toyCompiler gives all pods one ingress set in which each policy is a bit
// that denies everything. Sets are numbered by their policies.
type toyCompiler struct{ ids map[string]ruleset.SetID }

func newToy() Compiler { return &toyCompiler{map[string]ruleset.SetID{}} }

type toyCompiled struct {
	r     *ruleset.Ruleset
	names map[ruleset.SetID]*wire.SetNames
	nodes map[string]map[netip.Addr]bool
}

func (c *toyCompiler) Compile(in Input) (Compiled, error) {
	out := &toyCompiled{r: &ruleset.Ruleset{Generation: in.Generation}, names: map[ruleset.SetID]*wire.SetNames{}, nodes: map[string]map[netip.Addr]bool{}}
	set := ruleset.Set{BaselineStart: ruleset.Bits}
	names := &wire.SetNames{Direction: uint32(flow.Ingress)}
	content := ""
	for i, p := range in.Policies {
		if p.Policy.Name == "broken" {
			return nil, errors.New("policy \"broken\" can't be compiled")
		}
		set.Always.Add(i)
		set.Deny.Add(i)
		if p.Current {
			set.Current.Add(i)
		}
		if p.Candidate {
			set.Candidate.Add(i)
		}
		if p.Enforced {
			set.Enforced.Add(i)
		}
		content += fmt.Sprintf("%s %p,", p.Policy.Key(), p.Policy)
		names.Bits = append(names.Bits, wire.NewRuleName(p.Policy.Ref(), !p.Current))
	}
	if content != "" {
		if c.ids[content] == 0 {
			c.ids[content] = ruleset.SetID(len(c.ids) + 1)
		}
		set.ID = c.ids[content]
		names.Set = uint32(set.ID)
		out.names[set.ID] = names
		out.r.Sets = []ruleset.Set{set}
	}
	for ip, id := range in.Endpoints {
		out.r.Endpoints = append(out.r.Endpoints, ruleset.Endpoint{IP: ip, ID: id, Ingress: set.ID})
		out.r.Peers = append(out.r.Peers, ruleset.Peer{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Class: 1})
	}
	for _, p := range in.World.Pods {
		for _, ip := range p.IPs {
			if out.nodes[p.Node] == nil {
				out.nodes[p.Node] = map[netip.Addr]bool{}
			}
			out.nodes[p.Node][ip] = true
		}
	}
	out.r.Sort()
	return out, nil
}

func (c *toyCompiled) Node(name string) *ruleset.Pages {
	r := *c.r
	r.Endpoints = slices.DeleteFunc(slices.Clone(r.Endpoints), func(e ruleset.Endpoint) bool { return !c.nodes[name][e.IP] })
	return r.Pages()
}

func (c *toyCompiled) Names(id ruleset.SetID) *wire.SetNames { return c.names[id] }

// toyCluster is a Cluster whose states are set by the test.
type toyCluster struct{ states chan State }

func (c *toyCluster) Watch(ctx context.Context, fn func(State)) error {
	for {
		select {
		case s := <-c.states:
			fn(s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// toyProbe runs a real server over pipes.
type toyProbe struct {
	fake  *servetest.Fake
	mu    sync.Mutex
	conns chan net.Conn
	shut  chan struct{}
	done  chan error
	last  net.Conn
	dials int
	down  bool // dialling fails
}

func startProbe(t *testing.T, node string) *toyProbe {
	p := &toyProbe{fake: servetest.New(), conns: make(chan net.Conn), shut: make(chan struct{}), done: make(chan error, 1)}
	s := serve.New(p.fake, serve.Options{Node: node})
	go func() { p.done <- s.Serve(t.Context(), p) }()
	return p
}

func (p *toyProbe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.shut:
		return nil, net.ErrClosed
	}
}

func (p *toyProbe) Close() error { close(p.shut); return nil }

func (p *toyProbe) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	p.mu.Lock()
	p.dials++
	down := p.down
	p.mu.Unlock()
	if down {
		return nil, errors.New("no route to host")
	}
	here, there := net.Pipe()
	select {
	case p.conns <- there:
	case <-p.shut:
		return nil, ErrGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = here
	return p.last, nil
}

func (p *toyProbe) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last.Close()
}

func (p *toyProbe) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func pod(ns, name, node string, ips ...string) *identity.Pod {
	p := &identity.Pod{Namespace: ns, Name: name, UID: "u-" + name, Node: node}
	for _, ip := range ips {
		p.IPs = append(p.IPs, netip.MustParseAddr(ip))
	}
	return p
}

func worldOf(pods ...*identity.Pod) *identity.World {
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{"shop": {Name: "shop"}}, Pods: map[string]*identity.Pod{},
		Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{"n1": {Name: "n1"}, "n2": {Name: "n2"}},
	}
	for _, p := range pods {
		w.Pods[p.Key()] = p
	}
	return w
}

func toyPolicy(name string) *policy.Policy {
	return &policy.Policy{Kind: flow.NetworkPolicy, Namespace: "shop", Name: name, Subject: policy.Subject{Namespace: "shop", Pods: policy.Everything()}, Source: policy.Source{YAML: "kind: NetworkPolicy"}}
}

func keyOf(name string) PolicyKey { return KeyOf(toyPolicy(name)) }

// session under test.
type bed struct {
	t       *testing.T
	live    *Live
	cluster *toyCluster
	probes  map[string]*toyProbe
	cleaned map[string]int
	mu      sync.Mutex
	frames  []*wire.Frame
	more    chan struct{}
	ended   chan struct{}
}

func newBed(t *testing.T, cfg Config, nodes ...string) *bed {
	t.Helper()
	b := &bed{t: t, cluster: &toyCluster{make(chan State)}, probes: map[string]*toyProbe{}, cleaned: map[string]int{}, more: make(chan struct{}), ended: make(chan struct{})}
	cfg.Cluster = b.cluster
	if cfg.NewCompiler == nil {
		cfg.NewCompiler = newToy
	}
	for _, n := range nodes {
		p := startProbe(t, n)
		b.probes[n] = p
		cfg.Probes = append(cfg.Probes, Probe{Node: n, Dialer: p, Cleanup: func(context.Context) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.cleaned[n]++
			return nil
		}})
	}
	live, err := NewLive(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.live = live
	go func() {
		defer close(b.ended)
		for f := range live.Frames() {
			b.mu.Lock()
			b.frames = append(b.frames, f)
			close(b.more)
			b.more = make(chan struct{})
			b.mu.Unlock()
		}
	}()
	return b
}

// await returns the first frame that pick accepts, of those that came and will
// come.
func (b *bed) await(pick func(*wire.Frame) bool) *wire.Frame {
	b.t.Helper()
	deadline := time.After(10 * time.Minute)
	for i := 0; ; {
		b.mu.Lock()
		frames, more := b.frames, b.more
		b.mu.Unlock()
		for ; i < len(frames); i++ {
			if pick(frames[i]) {
				return frames[i]
			}
		}
		select {
		case <-more:
		case <-b.ended:
			b.t.Fatal("the session ended before the frame came: ", b.live.Err())
		case <-deadline:
			b.t.Fatal("the frame never came")
		}
	}
}

func (b *bed) phase(node, phase string, n int) *wire.ProbeState {
	b.t.Helper()
	return b.await(func(f *wire.Frame) bool {
		if f.GetNode() == node && f.GetProbeState().GetPhase() == phase {
			n--
		}
		return n == 0
	}).GetProbeState()
}

func (b *bed) close() {
	b.t.Helper()
	if err := b.live.Close(b.t.Context()); err != nil {
		b.t.Error(err)
	}
	<-b.ended
	for n, p := range b.probes {
		if err := <-p.done; err != nil || p.fake.Closed() != 1 {
			b.t.Errorf("probe %s: %v, closed %d times", n, err, p.fake.Closed())
		}
		if b.cleaned[n] != 1 {
			b.t.Errorf("node %s was cleaned up %d times", n, b.cleaned[n])
		}
	}
}

func newFlow(id uint64, ep uint32) *wire.Flow {
	return &wire.Flow{Id: id, Kind: wire.Flow_NEW, Endpoint: ep, Direction: 1, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, PeerIp: []byte{10, 0, 0, 2}, LocalPort: 80, PeerPort: 4000, Verdict: 1, PacketsIn: id}
}
