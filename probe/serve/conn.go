// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// conn is one plugin's connection.
type conn struct {
	s        *Server
	rw       io.ReadWriteCloser
	r        *wire.Reader
	w        *wire.Writer
	joiner   wire.DeltaJoiner
	failing  bool // the delta whose parts are still coming can't be applied
	closed   chan struct{}
	once     sync.Once
	finished chan struct{} // nothing of it runs any more
}

// handle speaks with one plugin until the connection ends.
func (s *Server) handle(rw io.ReadWriteCloser) {
	c := &conn{s: s, rw: rw, r: wire.NewReader(rw), w: wire.NewWriter(rw), closed: make(chan struct{}), finished: make(chan struct{})}
	defer close(c.finished)
	defer c.close()
	go func() { // the end of the server is the end of every connection, greeted or not
		select {
		case <-s.stop:
			time.AfterFunc(time.Second, c.close) // leaves a moment for the Bye
		case <-c.closed:
		}
	}()

	quiet := time.AfterFunc(helloWithin, c.close)
	defer quiet.Stop()
	f, err := c.r.Read()
	if err != nil {
		return
	}
	hello := f.GetHello()
	if why := s.refusal(hello); why != "" {
		c.bye(why)
		return
	}
	if !s.adopt(c, hello) {
		return
	}
	defer s.leave(c)

	// What an earlier connection asked for comes first, so that the generation
	// in the greeting is the one that the next delta starts from.
	greeted := make(chan error, 1)
	if !s.do(func() { greeted <- c.greet(hello) }) {
		return
	}
	select {
	case err = <-greeted:
	case <-c.closed:
		return
	}
	if err != nil {
		return
	}
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		defer c.close()
		c.write()
	}()
	defer func() { <-writer }()
	defer c.close()
	for {
		quiet.Reset(silentFor)
		f, err := c.r.Read()
		if err != nil {
			return
		}
		s.out.received(f.GetSeq(), f.GetAck())
		if !c.take(f) {
			return
		}
	}
}

// refusal says why a plugin can't be served, in a sentence for its user.
func (s *Server) refusal(h *wire.Hello) string {
	switch {
	case h == nil:
		return "the first frame must be a hello"
	case h.GetVersion() != wire.Version:
		return fmt.Sprintf("this probe speaks version %d of the protocol, the plugin version %d: use a plugin and a probe image of the same release", wire.Version, h.GetVersion())
	case h.GetSession() == "" || len(h.GetSession()) > 64:
		return "the hello must name its session, in at most 64 bytes"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != "" && s.session != h.GetSession() {
		return fmt.Sprintf("this probe belongs to session %q: each session starts its own", s.session)
	}
	return ""
}

// adopt makes c the connection, in place of an earlier one of the same
// session: a plugin comes back before the probe has seen the old stream end.
func (s *Server) adopt(c *conn, h *wire.Hello) bool {
	for {
		s.mu.Lock()
		if s.session != "" && s.session != h.GetSession() {
			s.mu.Unlock()
			return false
		}
		old := s.current
		if old == nil {
			s.current = c
			s.session = h.GetSession()
			s.readOnly = s.readOnly || h.GetReadOnly()
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		old.bye("a newer connection of the same session took over")
		old.close()
		select {
		case <-old.finished:
		case <-c.closed:
			return false
		}
	}
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == c {
		s.current = nil
		s.alone = time.Now()
	}
}

// greet answers a hello and sets where the stream goes on.
func (c *conn) greet(h *wire.Hello) error {
	s := c.s
	now := time.Now()
	gap := s.out.resume(h.GetResume())
	err := c.w.Write(&wire.Frame{TimeNs: now.UnixNano(), Body: &wire.Frame_Hello{Hello: &wire.Hello{
		Version: wire.Version, Program: s.opt.Program, Session: h.GetSession(), ReadOnly: s.isReadOnly(),
		Node: s.opt.Node, Kernel: s.facts.Kernel, BootOffsetNs: s.facts.BootOffset.Nanoseconds(), Features: s.facts.Features,
		Instance: s.instance, Generation: s.probe.Generation(),
	}}})
	if err != nil || gap == nil {
		return err
	}
	if err := c.w.Write(&wire.Frame{TimeNs: now.UnixNano(), Body: &wire.Frame_Gap{Gap: gap}}); err != nil {
		return err
	}
	s.out.send(&wire.Frame{Body: &wire.Frame_Applied{Applied: &wire.Applied{Generation: s.probe.Generation()}}})
	s.mu.Lock()
	s.lease.active = false // so that a running one is told
	s.mu.Unlock()
	s.probe.Resend()
	return nil
}

func (s *Server) isReadOnly() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readOnly
}

// write sends what waits, and a heartbeat each second, until the connection
// is closed.
func (c *conn) write() {
	o := c.s.out
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	budget := time.NewTimer(0)
	defer budget.Stop()
	for {
		b, wait := o.next(time.Now())
		if b != nil {
			if c.w.WriteEncoded(b) != nil {
				return
			}
			c.s.count(len(b))
		}
		select {
		case <-c.closed:
			return
		case now := <-beat.C:
			if c.w.Write(o.heartbeat(now, c.s.probe.Loss())) != nil {
				return
			}
			continue
		default:
		}
		if b != nil {
			continue
		}
		var paid <-chan time.Time
		if wait > 0 {
			budget.Reset(wait)
			paid = budget.C
		}
		select {
		case <-c.closed:
			return
		case <-o.wake:
		case <-paid:
		case now := <-beat.C:
			if c.w.Write(o.heartbeat(now, c.s.probe.Loss())) != nil {
				return
			}
		}
	}
}

func (s *Server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += uint64(n) //nolint:gosec // a length
}

// take does what a frame asks for; false if the connection is over.
func (c *conn) take(f *wire.Frame) bool {
	s := c.s
	switch b := f.GetBody().(type) {
	case *wire.Frame_Endpoints:
		return s.do(func() {
			if err := s.probe.SetEndpoints(b.Endpoints.GetEndpoints()); err != nil {
				s.Notice(wire.Notice_WARN, "the list of pods was not taken: "+err.Error())
			}
		})
	case *wire.Frame_Delta:
		return c.delta(b.Delta)
	case *wire.Frame_Lease:
		s.askLease(time.Duration(b.Lease.GetDurationNs()), time.Duration(b.Lease.GetTotalNs()))
	case *wire.Frame_Options:
		s.mu.Lock()
		s.tick = max(heartbeatEvery/4, time.Duration(b.Options.GetTickNs()))
		if b.Options.GetTickNs() == 0 {
			s.tick = heartbeatEvery
		}
		s.mu.Unlock()
		s.out.setBudget(b.Options.GetBudgetBytes())
		return s.do(func() {
			if err := s.probe.SetOptions(b.Options); err != nil {
				s.Notice(wire.Notice_WARN, err.Error())
			}
		})
	case *wire.Frame_Bye:
		s.end("the plugin ended the session")
		return false
	}
	return true
}

// delta collects the parts of a delta and has the whole applied.
func (c *conn) delta(m *wire.Delta) bool {
	s := c.s
	if c.failing {
		c.failing = m.GetMore()
		return true
	}
	d, err := c.joiner.Add(m)
	if err != nil {
		c.failing = m.GetMore()
		s.applied(m.GetGeneration(), 0, err)
		return true
	}
	if d == nil {
		return true
	}
	return s.do(func() { s.apply(d) })
}

func (s *Server) apply(d *ruleset.Delta) {
	start := time.Now()
	err := s.probe.Apply(d)
	s.applied(d.Generation, time.Since(start), err)
}

func (s *Server) applied(generation uint64, took time.Duration, err error) {
	a := &wire.Applied{Generation: generation, TookNs: took.Nanoseconds()}
	if err != nil {
		a.Error = wire.Clean(err.Error(), 2000)
	}
	s.out.send(&wire.Frame{Body: &wire.Frame_Applied{Applied: a}})
}

var errReadOnly = errors.New("this session is read-only: it can't enforce, whatever it is asked later")

func (s *Server) askLease(d, total time.Duration) {
	now := time.Now()
	var err error
	if d > 0 && s.isReadOnly() {
		err = errReadOnly
	} else {
		s.mu.Lock()
		err = s.lease.ask(now, d, total)
		s.mu.Unlock()
	}
	refused := ""
	if err != nil {
		refused = wire.Clean(err.Error(), 500)
	}
	s.sendLease(now, false, refused)
}

// bye says why the connection ends; it gives up soon if nobody reads.
func (c *conn) bye(why string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.w.Write(&wire.Frame{TimeNs: time.Now().UnixNano(), Body: &wire.Frame_Bye{Bye: &wire.Bye{Reason: why}}})
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
		c.close()
		<-done
	}
}

func (c *conn) close() {
	c.once.Do(func() {
		close(c.closed)
		_ = c.rw.Close()
	})
}
