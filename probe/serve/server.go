// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Times of the conversation. The plugin's side has its own.
const (
	DefaultLinger  = 60 * time.Second
	helloWithin    = 10 * time.Second
	heartbeatEvery = time.Second
	silentFor      = 10 * time.Second // without a frame: the plugin is gone
	keepEvery      = 250 * time.Millisecond
)

// Options of a Server. The zero value is usable.
type Options struct {
	Program string        // name and version for Hello
	Node    string        // name of this node, for people
	Session string        // the only one to serve; empty: that of the first plugin
	Linger  time.Duration // how long to live without a plugin; 0: DefaultLinger
}

// Server is the probe's end of the wire. It implements [Sink].
type Server struct {
	probe    Probe
	opt      Options
	facts    Facts
	out      *outbox
	instance string
	commands chan func()
	stop     chan struct{} // closed when the server shall end
	stopOnce sync.Once
	why      string

	mu       sync.Mutex
	session  string // of the first plugin; nobody else's is served
	readOnly bool
	current  *conn
	alone    time.Time // since when nobody is connected
	tick     time.Duration
	lease    lease
	sent     uint64
	wg       sync.WaitGroup
}

var _ Sink = (*Server)(nil)

// New prepares to serve p. The Server closes p when it ends.
func New(p Probe, o Options) *Server {
	if o.Linger <= 0 {
		o.Linger = DefaultLinger
	}
	s := &Server{
		probe: p, opt: o, facts: p.Facts(), session: o.Session, out: newOutbox(), instance: rand.Text(),
		commands: make(chan func(), 64), stop: make(chan struct{}), alone: time.Now(), tick: heartbeatEvery,
	}
	s.lease.set = p.SetLease
	return s
}

// Listener is what Serve needs of a net.Listener.
type Listener interface {
	Accept() (net.Conn, error)
	Close() error
}

// Serve takes connections from l until the context ends, a plugin says Bye, or
// nobody was connected for Options.Linger. Each of these is a good end; then
// everything in the kernel has been freed. It closes l.
func (s *Server) Serve(ctx context.Context, l Listener) error {
	return s.run(ctx, func() {
		for {
			c, err := l.Accept()
			if err != nil {
				s.end("the socket was closed")
				return
			}
			s.wg.Go(func() { s.handle(c) })
		}
	}, func() { _ = l.Close() })
}

// ServeConn serves one connection and ends with it: that of the process that
// started this one.
func (s *Server) ServeConn(ctx context.Context, c io.ReadWriteCloser) error {
	return s.run(ctx, func() {
		s.handle(c)
		s.end("the plugin is gone")
	}, func() { _ = c.Close() })
}

func (s *Server) run(ctx context.Context, accept, closeAll func()) error {
	if err := s.probe.Start(s); err != nil {
		closeAll()
		return errors.Join(fmt.Errorf("the probe can't start: %w", err), s.probe.Close())
	}
	s.wg.Go(accept)
	worker := make(chan struct{})
	go func() { s.work(); close(worker) }()
	s.keep(ctx)

	s.mu.Lock()
	cur := s.current
	s.mu.Unlock()
	if cur != nil {
		cur.bye(s.why)
	}
	closeAll()
	if cur != nil {
		cur.close()
	}
	s.wg.Wait()
	<-worker
	return errors.Join(s.probe.SetLease(0), s.probe.Close())
}

// end makes the server stop. The first reason counts.
func (s *Server) end(why string) {
	s.stopOnce.Do(func() {
		s.why = why
		close(s.stop)
	})
}

// work runs what plugins asked for, in order, until the end.
func (s *Server) work() {
	for {
		select {
		case f := <-s.commands:
			f()
		case <-s.stop:
			return
		}
	}
}

// do queues work; false if the server is ending.
func (s *Server) do(f func()) bool {
	select {
	case s.commands <- f:
		return true
	case <-s.stop:
		return false
	}
}

// keep watches the clock: the lease, the statistics, and how long nobody has
// been there.
func (s *Server) keep(ctx context.Context) {
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			s.end("the probe was told to stop")
			return
		case <-s.stop:
			return
		case now := <-t.C:
			s.mu.Lock()
			attached, alone, tick := s.current != nil, s.alone, s.tick
			s.mu.Unlock()
			if !attached {
				if now.Sub(alone) >= s.opt.Linger {
					s.end(fmt.Sprintf("no plugin was connected for %s", s.opt.Linger))
					return
				}
				s.out.hoard(now)
			}
			due := attached && now.Sub(told) >= tick
			if due {
				told = now
				s.sendStats()
			}
			s.sendLease(now, due, "")
		}
	}
}

func (s *Server) sendStats() {
	st := s.probe.Stats()
	if st == nil {
		return
	}
	s.mu.Lock()
	st.SentBytes = s.sent
	s.mu.Unlock()
	s.out.send(&wire.Frame{Body: &wire.Frame_Stats{Stats: st}})
}

// sendLease tells the state of the lease if it changed, was refused, or is due
// to be told while it runs.
func (s *Server) sendLease(now time.Time, due bool, refused string) {
	s.mu.Lock()
	st, changed := s.lease.state(now)
	s.mu.Unlock()
	if !changed && refused == "" && (!due || !st.GetActive()) {
		return
	}
	st.Refused, st.DroppedPackets = refused, s.probe.EnforcedPackets()
	s.out.send(&wire.Frame{Body: &wire.Frame_LeaseState{LeaseState: st}})
}

// Flows implements [Sink].
func (s *Server) Flows(list []*wire.Flow) { s.out.addFlows(list) }

// Drops implements [Sink].
func (s *Server) Drops(samples []*wire.Drop, counts []*wire.DropCount) {
	s.out.addDrops(samples, counts)
}

// EndpointStates implements [Sink].
func (s *Server) EndpointStates(list []*wire.EndpointState) {
	const most = 1000 // fit a frame
	for len(list) > 0 {
		n := min(most, len(list))
		s.out.send(&wire.Frame{Body: &wire.Frame_EndpointStates{EndpointStates: &wire.EndpointStates{States: list[:n:n]}}})
		list = list[n:]
	}
}

// Notice implements [Sink].
func (s *Server) Notice(level wire.Notice_Level, text string) {
	s.out.send(&wire.Frame{Body: &wire.Frame_Notice{Notice: &wire.Notice{Level: level, Text: wire.Clean(text, 2000)}}})
}
