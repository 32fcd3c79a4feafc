// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
	"github.com/ebpol/kubectl-ebpol/probe/serve/servetest"
)

// bed is a server over pipes, in a bubble of its own time.
type bed struct {
	t     *testing.T
	probe *servetest.Fake
	conns chan net.Conn
	done  chan error
	stop  context.CancelFunc
	shut  chan struct{}
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, probe: servetest.New(), conns: make(chan net.Conn), done: make(chan error, 1), shut: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	s := serve.New(b.probe, serve.Options{Program: "ebpol-probe test", Node: "n1"})
	go func() { b.done <- s.Serve(ctx, b) }()
	t.Cleanup(cancel)
	return b
}

func (b *bed) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.shut:
		return nil, net.ErrClosed
	}
}

func (b *bed) Close() error { close(b.shut); return nil }

// client is the plugin's end of one connection.
type client struct {
	t      *testing.T
	conn   net.Conn
	w      *wire.Writer
	frames chan *wire.Frame
	last   uint64 // seq
}

func (b *bed) dial(h *wire.Hello) *client {
	b.t.Helper()
	here, there := net.Pipe()
	b.conns <- there
	c := &client{t: b.t, conn: here, w: wire.NewWriter(here), frames: make(chan *wire.Frame, 100_000)}
	go func() {
		defer close(c.frames)
		r := wire.NewReader(here)
		for {
			f, err := r.Read()
			if err != nil {
				return
			}
			c.frames <- f
		}
	}()
	c.send(&wire.Frame{Body: &wire.Frame_Hello{Hello: h}})
	return c
}

func hello(resume uint64) *wire.Hello {
	return &wire.Hello{Version: wire.Version, Session: "s1", Resume: resume}
}

func (c *client) send(f *wire.Frame) {
	c.t.Helper()
	if err := c.w.Write(f); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatal(err)
	}
}

// beat keeps the connection alive for d.
func (c *client) beat(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Second)
		c.send(&wire.Frame{Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{}}})
	}
}

// read takes frames until pick accepts one; nil at the end of the stream.
func (c *client) read(pick func(*wire.Frame) bool) *wire.Frame {
	c.t.Helper()
	for f := range c.frames {
		if f.GetSeq() != 0 {
			if f.GetSeq() != c.last+1 && c.last != 0 {
				c.t.Errorf("seq %d after %d", f.GetSeq(), c.last)
			}
			c.last = f.GetSeq()
		}
		if pick(f) {
			return f
		}
	}
	return nil
}

func (c *client) hello() *wire.Hello {
	c.t.Helper()
	return c.read(func(f *wire.Frame) bool { return f.GetHello() != nil }).GetHello()
}

func (c *client) bye() string {
	c.t.Helper()
	return c.read(func(f *wire.Frame) bool { return f.GetBye() != nil }).GetBye().GetReason()
}

// flows takes n flows.
func (c *client) flows(n int) (out []*wire.Flow) {
	c.t.Helper()
	c.read(func(f *wire.Frame) bool {
		out = append(out, f.GetFlows().GetFlows()...)
		return len(out) >= n
	})
	return out
}

func flowOf(id uint64, kind wire.Flow_Kind) *wire.Flow {
	return &wire.Flow{Id: id, Kind: kind, Endpoint: 1, Direction: 1, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, PeerIp: []byte{10, 0, 0, 2}, LocalPort: 80, PeerPort: 4000, Verdict: 1, PacketsIn: id, BytesIn: 100 * id}
}

func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		c := b.dial(hello(0))
		h := c.hello()
		if h.GetNode() != "n1" || h.GetKernel() != "6.18.0-fake" || h.GetInstance() == "" || len(h.GetFeatures()) != 1 || h.GetBootOffsetNs() != 1e9 {
			t.Errorf("hello: %v", h)
		}
		c.send(&wire.Frame{Seq: 1, Body: &wire.Frame_Options{Options: &wire.Options{Drops: true}}})
		c.send(&wire.Frame{Seq: 2, Body: &wire.Frame_Endpoints{Endpoints: &wire.Endpoints{Endpoints: []*wire.Endpoint{{Id: 1}}}}})
		for _, p := range wire.DeltaParts(&ruleset.Delta{Generation: 5, PutSets: []ruleset.Set{{ID: 1}}}) {
			c.send(&wire.Frame{Seq: 3, Body: &wire.Frame_Delta{Delta: p}})
		}
		if f := c.read(func(f *wire.Frame) bool { return f.GetEndpointStates() != nil }); f.GetEndpointStates().GetStates()[0].GetDevice() != "eth0" {
			t.Errorf("states: %v", f)
		}
		if f := c.read(func(f *wire.Frame) bool { return f.GetApplied() != nil }); f.GetApplied().GetGeneration() != 5 || f.GetApplied().GetError() != "" {
			t.Errorf("applied: %v", f)
		}
		if !b.probe.Options().GetDrops() || len(b.probe.Rules().Sets) != 1 {
			t.Error("options or rules did not arrive")
		}
		// A delta from a generation that isn't there fails, and says so.
		c.send(&wire.Frame{Body: &wire.Frame_Delta{Delta: &wire.Delta{From: 3, Generation: 6}}})
		if f := c.read(func(f *wire.Frame) bool { return f.GetApplied() != nil }); f.GetApplied().GetError() == "" {
			t.Errorf("applied: %v", f)
		}
		b.probe.See(flowOf(7, wire.Flow_NEW))
		b.probe.See(flowOf(7, wire.Flow_COUNTERS))
		got := c.flows(2)
		if _, _, ok := got[0].Tuple(); !ok || got[1].GetEndpoint() != 0 || got[1].GetLocalIp() != nil || got[1].GetBytesIn() != 700 {
			t.Errorf("flows: %v; want the tuple once, the totals always", got)
		}
		if f := c.read(func(f *wire.Frame) bool { return f.GetHeartbeat() != nil }); f.GetSeq() != 0 || f.GetAck() != 3 {
			t.Errorf("heartbeat: %v", f)
		}
		if f := c.read(func(f *wire.Frame) bool { return f.GetStats() != nil }); f.GetStats().GetRssBytes() == 0 || f.GetStats().GetSentBytes() == 0 {
			t.Errorf("stats: %v", f)
		}
		c.send(&wire.Frame{Body: &wire.Frame_Bye{Bye: &wire.Bye{}}})
		if err := <-b.done; err != nil || b.probe.Closed() != 1 {
			t.Errorf("end: %v, closed %d times", err, b.probe.Closed())
		}
	})
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		frame *wire.Frame
		want  string
	}{
		"no hello":        {&wire.Frame{Body: &wire.Frame_Lease{Lease: &wire.Lease{}}}, "must be a hello"},
		"another version": {&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: 2, Session: "x"}}}, "version 2"},
		"no session":      {&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: 1}}}, "name its session"},
		"another session": {&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: 1, Session: "s2"}}}, `session "s1"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t)
				first := b.dial(hello(0))
				first.hello()
				second := b.dial(nil)
				second.conn.Close()
				here, there := net.Pipe()
				b.conns <- there
				if err := wire.NewWriter(here).Write(c.frame); err != nil {
					t.Fatal(err)
				}
				f, err := wire.NewReader(here).Read()
				if err != nil || !strings.Contains(f.GetBye().GetReason(), c.want) {
					t.Errorf("got %v, %v; want a bye with %q", f, err, c.want)
				}
				b.probe.See(flowOf(1, wire.Flow_NEW))
				if len(first.flows(1)) != 1 {
					t.Error("the first connection must go on")
				}
				b.stop()
				<-b.done
			})
		})
	}
}

func TestNewerConnectionTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		old := b.dial(hello(0))
		old.hello()
		b.probe.See(flowOf(1, wire.Flow_NEW))
		old.flows(1)
		next := b.dial(hello(old.last))
		if why := old.bye(); !strings.Contains(why, "took over") {
			t.Errorf("bye: %q", why)
		}
		next.hello()
		next.last = old.last
		b.probe.See(flowOf(2, wire.Flow_NEW))
		if got := next.flows(1); got[0].GetId() != 2 {
			t.Errorf("got %v", got)
		}
		b.stop()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
		if why := next.bye(); !strings.Contains(why, "told to stop") {
			t.Errorf("bye: %q", why)
		}
	})
}

func TestCutStreamIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		var ids []uint64
		var resume uint64
		id := uint64(0)
		for round := range 20 {
			c := b.dial(hello(resume))
			c.hello()
			c.last = resume
			for range 10 {
				id++
				b.probe.See(flowOf(id, wire.Flow_NEW))
				synctest.Wait()
			}
			for _, f := range c.flows(round % 10) { // sees some of it, then is cut
				ids = append(ids, f.GetId())
			}
			resume = c.last
			c.conn.Close()
			id++
			b.probe.See(flowOf(id, wire.Flow_NEW)) // while nobody is there
		}
		c := b.dial(hello(resume))
		c.hello()
		c.last = resume
		for _, f := range c.flows(int(id) - len(ids)) {
			ids = append(ids, f.GetId())
		}
		for i, got := range ids {
			if got != uint64(i+1) {
				t.Fatalf("flow %d at place %d: lost or doubled", got, i+1)
			}
		}
		if len(ids) != int(id) {
			t.Errorf("%d flows of %d", len(ids), id)
		}
		b.stop()
		<-b.done
	})
}

func TestGapWhenTheResendBufferOverflowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		c := b.dial(hello(0))
		c.hello()
		c.send(&wire.Frame{Body: &wire.Frame_Endpoints{Endpoints: &wire.Endpoints{Endpoints: []*wire.Endpoint{{Id: 1}}}}})
		b.probe.See(flowOf(1, wire.Flow_NEW))
		c.flows(1)
		resume := c.last
		c.conn.Close()
		for id := uint64(2); id < 200_000; id += 500 { // far more than 4 MiB
			for k := range uint64(500) {
				f := flowOf(id+k, wire.Flow_NEW)
				f.Verdict = 2
				b.probe.See(f)
				f = flowOf(id+k, wire.Flow_CLOSE)
				b.probe.See(f)
			}
			time.Sleep(100 * time.Millisecond)
		}
		c = b.dial(hello(resume))
		c.hello()
		gap := c.read(func(f *wire.Frame) bool { return f.GetGap() != nil }).GetGap()
		if gap.GetFrom() != resume+1 || gap.GetTo() < resume+100 {
			t.Fatalf("gap: %v after %d", gap, resume)
		}
		c.last = gap.GetTo()
		var states, applied bool
		f := c.read(func(f *wire.Frame) bool {
			states = states || f.GetEndpointStates() != nil
			applied = applied || f.GetApplied() != nil
			return slices.ContainsFunc(f.GetFlows().GetFlows(), func(f *wire.Flow) bool { return f.GetId() == 1 })
		})
		i := slices.IndexFunc(f.GetFlows().GetFlows(), func(f *wire.Flow) bool { return f.GetId() == 1 })
		if _, _, ok := f.GetFlows().GetFlows()[i].Tuple(); !ok || !states || !applied {
			t.Errorf("the whole state must come again: tuple %v, states %v, applied %v", ok, states, applied)
		}
		if l := c.read(func(f *wire.Frame) bool { return f.GetHeartbeat() != nil }).GetHeartbeat().GetLoss(); l.GetResent() == 0 {
			t.Errorf("loss: %v", l)
		}
		b.stop()
		<-b.done
	})
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		c := b.dial(hello(0))
		c.hello()
		lease := func(d, total time.Duration) {
			c.send(&wire.Frame{Body: &wire.Frame_Lease{Lease: &wire.Lease{DurationNs: int64(d), TotalNs: int64(total)}}})
			synctest.Wait()
		}
		state := func() *wire.LeaseState {
			return c.read(func(f *wire.Frame) bool { return f.GetLeaseState() != nil }).GetLeaseState()
		}
		lease(time.Hour, 2*time.Hour)
		if st := state(); !st.GetActive() || st.GetLeftNs() != int64(serve.MaxLease) || st.GetTotalLeftNs() != int64(2*time.Hour) {
			t.Errorf("held down: %v", st)
		}
		lease(10*time.Second, 3*time.Second)
		c.beat(2 * time.Second)
		if !b.probe.Enforcing() {
			t.Error("must run for 3 s")
		}
		c.beat(2 * time.Second)
		if b.probe.Enforcing() {
			t.Error("must not run past --for")
		}
		for st := state(); st.GetActive(); st = state() {
			if st.GetLeftNs() > int64(serve.MaxLease) {
				t.Errorf("left: %v", st)
			}
		}
		lease(10*time.Second, time.Minute)
		lease(0, 0)
		if b.probe.Enforcing() {
			t.Error("released, yet enforcing")
		}
		// The plugin falls silent: the lease runs out by itself.
		lease(10*time.Second, time.Minute)
		time.Sleep(9 * time.Second)
		if !b.probe.Enforcing() {
			t.Error("must run for 10 s")
		}
		time.Sleep(2 * time.Second)
		if b.probe.Enforcing() {
			t.Error("nobody renewed it, yet it runs")
		}
		b.stop()
		<-b.done
	})
}

func TestReadOnlyRefusesForLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		h := hello(0)
		h.ReadOnly = true
		b.dial(h).hello()
		c := b.dial(hello(0)) // comes back without the flag
		if !c.hello().GetReadOnly() {
			t.Error("hello must say so")
		}
		c.send(&wire.Frame{Body: &wire.Frame_Lease{Lease: &wire.Lease{DurationNs: 1e9, TotalNs: 1e9}}})
		st := c.read(func(f *wire.Frame) bool { return f.GetLeaseState() != nil }).GetLeaseState()
		if st.GetActive() || !strings.Contains(st.GetRefused(), "read-only") || b.probe.Enforcing() {
			t.Errorf("lease: %v", st)
		}
		b.stop()
		<-b.done
	})
}

func TestEndsByItself(t *testing.T) {
	t.Run("nobody ever came", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			start := time.Now()
			if err := <-b.done; err != nil || b.probe.Closed() != 1 || time.Since(start) > serve.DefaultLinger+time.Second {
				t.Errorf("%v after %s, closed %d times", err, time.Since(start), b.probe.Closed())
			}
		})
	})
	t.Run("the plugin fell silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			c := b.dial(hello(0))
			c.hello()
			c.beat(5 * time.Minute)
			start := time.Now()
			if err := <-b.done; err != nil || b.probe.Closed() != 1 || time.Since(start) > serve.DefaultLinger+15*time.Second {
				t.Errorf("%v after %s, closed %d times", err, time.Since(start), b.probe.Closed())
			}
		})
	})
	t.Run("the only connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := servetest.New()
			here, there := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- serve.New(p, serve.Options{}).ServeConn(t.Context(), there) }()
			here.Close()
			if err := <-done; err != nil || p.Closed() != 1 {
				t.Errorf("%v, closed %d times", err, p.Closed())
			}
		})
	})
}

func TestBudgetThinsSamplesAndKeepsCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		c := b.dial(hello(0))
		c.hello()
		const budget = 64 << 10
		c.send(&wire.Frame{Body: &wire.Frame_Options{Options: &wire.Options{BudgetBytes: budget}}})
		synctest.Wait()
		start := time.Now()
		var listed, total uint64
		id := uint64(0)
		for range 10 { // seconds; 20,000 short connections each
			for range 20_000 {
				id++
				b.probe.See(flowOf(id, wire.Flow_NEW))
				b.probe.See(flowOf(id, wire.Flow_CLOSE))
				total += 100 * id
			}
			c.beat(time.Second)
		}
		// Everything is named or counted once the flood is over.
		last := map[uint64]uint64{}
		closed := map[uint64]bool{}
		beats := make(chan struct{})
		go func() { c.beat(45 * time.Second); close(beats) }()
		var loss *wire.Loss
		var bytes int
		c.read(func(f *wire.Frame) bool {
			if b, err := wire.Append(nil, f); err == nil {
				bytes += len(b)
			}
			for _, fl := range f.GetFlows().GetFlows() {
				if closed[fl.GetId()] {
					t.Fatalf("flow %d after its end", fl.GetId())
				}
				if _, known := last[fl.GetId()]; !known && fl.GetEndpoint() == 0 {
					t.Fatalf("flow %d without a name", fl.GetId())
				}
				last[fl.GetId()] = fl.GetBytesIn()
				closed[fl.GetId()] = fl.GetKind() == wire.Flow_CLOSE
			}
			if h := f.GetHeartbeat(); h != nil {
				loss = h.GetLoss()
			}
			return time.Since(start) > 40*time.Second
		})
		for id, n := range last {
			if !closed[id] {
				t.Errorf("flow %d never ended", id)
			}
			listed += n
		}
		if listed+loss.GetUntrackedBytes() != total {
			t.Errorf("%d listed + %d not listed, want %d in all", listed, loss.GetUntrackedBytes(), total)
		}
		if loss.GetThinned() == 0 || len(last) == 0 || bytes > 50*budget {
			t.Errorf("thinned %d, listed %d, %d bytes in 40 s", loss.GetThinned(), len(last), bytes)
		}
		<-beats
		b.stop()
		<-b.done
	})
}
