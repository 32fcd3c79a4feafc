// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Times of the conversation. The probe's side has its own.
const (
	heartbeatEvery = time.Second
	silentFor      = 6 * time.Second // without a frame: the stream is cut
	helloWithin    = 15 * time.Second
	firstRetry     = 100 * time.Millisecond
	lastRetry      = 5 * time.Second
	neverLive      = 30 * time.Second // a probe that was never live is given up after this long
	settled        = 10 * time.Second // a stream that lived so long starts retries anew
	byeWithin      = time.Second
)

// The phases of wire.ProbeState.
const (
	phaseStarting   = "starting"
	phaseConnecting = "connecting"
	phaseLive       = "live"
	phaseCut        = "cut"
	phaseGone       = "gone"
	phaseFailed     = "failed"
)

// node keeps one probe in the state that the session wants. Everything that is
// wanted is a state, not a command: after a cut, or with a new instance of the
// probe, the difference is sent again, whatever was on its way.
type node struct {
	l *Live
	Probe

	mu   sync.Mutex
	wake chan struct{} // holds one token while there may be something to send

	// wanted
	endpoints  []*wire.Endpoint
	epVersion  uint64
	target     *ruleset.Pages
	targetName uint64 // generation of target, in effect or not

	// known of the probe
	instance string
	received uint64         // highest seq
	base     *ruleset.Pages // what it holds; nil: not known
	inFlight *ruleset.Pages // what it is being brought to; nil: nothing
	done     uint64         // generation that is in effect there
	failures int            // applies in a row that failed
	failed   uint64         // generation that it could not be brought to, with lastErr
	lastErr  string
	refuses  bool // it was said that it can't take the rules, and it has taken none since
	live     bool
	over     bool // won't be live again
	lease    *wire.LeaseState
	leaseSeq uint64 // counts lease states received
	cutAt    time.Time
}

func newNode(l *Live, p Probe) *node {
	return &node{l: l, Probe: p, wake: make(chan struct{}, 1)}
}

func (n *node) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// rules are those that the probe holds; nil if that isn't known.
func (n *node) rules() *ruleset.Pages {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.base
}

// want sets what the probe shall hold.
func (n *node) want(eps []*wire.Endpoint, r *ruleset.Pages) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epVersion == 0 || !sameEndpoints(n.endpoints, eps) {
		n.endpoints = eps
		n.epVersion++
	}
	n.target, n.targetName = r, r.Generation
	n.signal()
}

// tell emits how it goes with this probe.
func (n *node) tell(phase, message string, err error) {
	st := &wire.ProbeState{Phase: phase, Message: wire.Clean(message, 1000), SinceNs: time.Now().UnixNano()}
	if err != nil {
		st.Error = wire.Clean(err.Error(), 2000)
	}
	n.l.emit(&wire.Frame{Node: n.Node, Body: &wire.Frame_ProbeState{ProbeState: st}})
}

// run prepares the probe and speaks with it until the context ends or there
// is no hope. The error is why it ended early.
func (n *node) run(ctx context.Context) error {
	err := n.keep(ctx)
	n.mu.Lock()
	n.over, n.live = true, false
	n.mu.Unlock()
	n.l.stepped()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of the session is a good end
	}
	phase := phaseFailed
	if errors.Is(err, ErrGone) {
		phase = phaseGone
	}
	n.tell(phase, "", err)
	return fmt.Errorf("node %q: %w", n.Node, err)
}

func (n *node) keep(ctx context.Context) error {
	if n.Prepare != nil {
		n.tell(phaseStarting, "", nil)
		err := n.Prepare(ctx, func(phase, message string) { n.tell(phase, message, nil) })
		if err != nil {
			return err
		}
	}
	wait, started, ever := firstRetry, time.Now(), false
	for {
		n.tell(phaseConnecting, "", nil)
		began := time.Now()
		live, err := n.connect(ctx)
		ever = ever || live
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var refused *refusedError
		switch {
		case errors.Is(err, ErrGone), errors.As(err, &refused):
			return err
		case !ever && time.Since(started) > neverLive:
			return err
		case live && time.Since(began) > settled:
			wait = firstRetry
		}
		n.tell(phaseCut, "trying again", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// refusedError is what a probe answers to a hello that it won't serve.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return "the probe refused the session: " + e.reason }

// connect speaks over one stream until it ends. live says whether it ever
// carried the session.
func (n *node) connect(ctx context.Context) (live bool, err error) {
	dctx, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	dialing := context.AfterFunc(ctx, hangUp)
	rw, err := n.Dial(dctx)
	if err != nil {
		return false, err
	}
	if !dialing() { // ended while dialing
		_ = rw.Close()
		return false, ctx.Err()
	}
	c := &stream{n: n, rw: rw, r: wire.NewReader(rw), w: wire.NewWriter(rw), closed: make(chan struct{})}
	defer c.close()
	quiet := time.AfterFunc(helloWithin, func() { c.fail(fmt.Errorf("the probe said nothing for %s", helloWithin)) })
	defer quiet.Stop()
	stop := context.AfterFunc(ctx, func() { c.farewell() })
	defer stop()
	if err := c.greet(); err != nil {
		return false, c.reason(err)
	}
	n.mu.Lock()
	n.live = true
	n.mu.Unlock()
	n.tell(phaseLive, "", nil)
	n.l.stepped()
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		if err := c.write(); err != nil {
			c.fail(err)
		}
	}()
	err = c.read(quiet)
	c.fail(err)
	<-writer
	n.mu.Lock()
	n.live, n.lease = false, nil // what is in flight may have arrived: see adopt
	n.cutAt = time.Now()
	n.mu.Unlock()
	n.l.stepped()
	return true, c.reason(err)
}

// stream is one connection to a probe.
type stream struct {
	n        *node
	rw       io.ReadWriteCloser
	r        *wire.Reader
	w        *wire.Writer
	once     sync.Once
	closed   chan struct{}
	why      error // valid once closed
	leaving  sync.Once
	bye      string
	options  int // version sent
	eps      uint64
	seq      uint64
	parts    []*wire.Frame // of the delta that is being sent
	leased   time.Time     // when the lease was last renewed
	released bool
	unseen   unseen
}

func (c *stream) close() { c.fail(io.ErrClosedPipe) }

func (c *stream) fail(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.closed)
		_ = c.rw.Close()
	})
}

// reason is why the stream ended, rather than what the reader saw of it.
func (c *stream) reason(err error) error {
	select {
	case <-c.closed:
		err = c.why
	default:
	}
	switch {
	case c.bye != "":
		return errors.New("the probe ended the stream: " + c.bye)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the stream was cut")
	}
	return err
}

// farewell ends enforcement and the probe's session, if the stream still works.
func (c *stream) farewell() {
	c.leaving.Do(func() {
		give := time.AfterFunc(byeWithin, c.close)
		defer give.Stop()
		now := time.Now().UnixNano()
		_ = c.w.Write(&wire.Frame{TimeNs: now, Body: &wire.Frame_Lease{Lease: &wire.Lease{}}})
		_ = c.w.Write(&wire.Frame{TimeNs: now, Body: &wire.Frame_Bye{Bye: &wire.Bye{Reason: "the session ended"}}})
		// The probe frees everything and closes its side; what it still says is read.
		select {
		case <-c.closed:
		case <-time.After(byeWithin):
		}
		c.close()
	})
}

// greet says hello and takes the answer.
func (c *stream) greet() error {
	n := c.n
	n.mu.Lock()
	resume, cutAt := n.received, n.cutAt
	n.mu.Unlock()
	err := c.w.Write(&wire.Frame{TimeNs: time.Now().UnixNano(), Body: &wire.Frame_Hello{Hello: &wire.Hello{
		Version: wire.Version, Program: n.l.cfg.Program, Session: n.l.cfg.Session, Resume: resume, ReadOnly: n.l.cfg.ReadOnly,
	}}})
	if err != nil {
		return err
	}
	f, err := c.r.Read()
	if err != nil {
		return err
	}
	if bye := f.GetBye(); bye != nil {
		return &refusedError{bye.GetReason()}
	}
	h := f.GetHello()
	if h == nil {
		return fmt.Errorf("%w: the probe's first frame is no hello", wire.ErrMalformed)
	}
	if h.GetVersion() != wire.Version {
		return &refusedError{fmt.Sprintf("it speaks version %d of the protocol, this plugin version %d: use a probe image of the plugin's release", h.GetVersion(), wire.Version)}
	}
	n.adopt(h)
	f.Node = n.Node
	n.l.emit(f)
	if !cutAt.IsZero() {
		n.l.emit(&wire.Frame{Node: n.Node, TimeNs: time.Now().UnixNano(), Body: &wire.Frame_Gap{Gap: &wire.Gap{
			CutNs: time.Since(cutAt).Nanoseconds(), Reason: "the stream was cut, and is back",
		}}})
	}
	return nil
}

// adopt notes what a probe holds, by its hello.
func (n *node) adopt(h *wire.Hello) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.instance != h.GetInstance() {
		n.instance, n.received = h.GetInstance(), 0
		n.base, n.inFlight, n.done = nil, nil, 0
		n.l.flows.forget(n.Node)
	}
	// A delta may have been applied whose answer got lost.
	if n.inFlight != nil && n.inFlight.Generation == h.GetGeneration() {
		n.base = n.inFlight
	}
	if n.base != nil && n.base.Generation != h.GetGeneration() {
		n.base = nil
	}
	if n.base == nil {
		n.done = 0
	}
	n.inFlight, n.failures = nil, 0
}

// cleanup frees what Prepare made, once.
func (n *node) cleanup(ctx context.Context) error {
	n.mu.Lock()
	clean := n.Cleanup
	n.Cleanup = nil
	n.mu.Unlock()
	if clean == nil {
		return nil
	}
	if err := clean(ctx); err != nil {
		return fmt.Errorf("clean up after node %q: %w", n.Node, err)
	}
	return nil
}
