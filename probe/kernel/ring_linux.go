// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Ring reads a ring whose programs wake the reader only while it sleeps, as
// bpf/lib/wake.h has it. The reader is at work as long as something comes, and
// then looks now and then: waking it costs the traffic more. Where nothing
// comes, it sleeps and takes nothing. Make one with [OpenRing]; all but Close
// and Fill is for one goroutine at a time.
type Ring struct {
	reader *ringbuf.Reader
	asleep *ebpf.Memory
	file   *os.File // the ring once more, in the runtime's poller: no thread waits for it
	raw    syscall.RawConn
	pace   Pace
	size   int
	rests  atomic.Bool  // it sleeps until it is woken, however long
	mu     sync.RWMutex // guards closed: a closed ring can't be asked
	closed bool
}

// Pace is how soon a ring is read.
type Pace struct {
	First time.Duration // after the event that ended a rest: what belongs to it comes meanwhile
	Next  time.Duration // from one look to the next, while more comes
}

// OpenRing opens the ring of an object, and the object's map that says whether
// its reader sleeps. There must be one reader of each.
func OpenRing(events, asleep *ebpf.Map, pace Pace) (*Ring, error) {
	r := &Ring{pace: pace, size: int(events.MaxEntries())}
	var err error
	if r.asleep, err = asleep.Memory(); err != nil {
		return nil, fmt.Errorf("share whether the reader sleeps: %w", err)
	}
	fd, err := unix.FcntlInt(uintptr(events.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	_ = unix.SetNonblock(fd, true) // what can't be waited for is found out below
	r.file = os.NewFile(uintptr(fd), "ring")
	if err := r.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for a ring: %w", err), r.file.Close())
	}
	if r.raw, err = r.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	if r.reader, err = ringbuf.NewReader(events); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	r.reader.SetDeadline(time.Unix(1, 0)) // it never waits
	return r, r.sleeps(0)                 // one that was closed before it may have slept
}

// Next reads the next record; false if there is none. It doesn't wait. The
// error is os.ErrClosed after Close.
func (r *Ring) Next(rec *ringbuf.Record) (bool, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return false, os.ErrClosed
	}
	if r.reader.AvailableBytes() == 0 {
		return false, nil
	}
	err := r.reader.ReadInto(rec)
	if errors.Is(err, os.ErrDeadlineExceeded) { // what was there had been taken back
		return false, nil
	}
	return err == nil, err
}

// Rest is called when nothing is left to read: busy says whether something was
// since the last rest. It returns when it is time to look again: by its pace if
// busy, else once something has come, and after again in any case unless that
// is 0. The error is os.ErrClosed after Close.
func (r *Ring) Rest(busy bool, again time.Duration) error {
	if busy {
		return r.wait(r.pace.Next, r.crowded)
	}
	if err := r.sleeps(1); err != nil {
		return err
	}
	// A program that didn't see it may have reserved what isn't seen here yet:
	// neither orders its write before its read. The second look is long after
	// any write has arrived.
	second := r.pace.Next
	if again > 0 {
		second = min(second, again)
	}
	err := r.wait(second, r.some)
	if err == nil && !r.some() && second != again {
		r.rests.Store(again == 0)
		err = r.wait(max(0, again-second), r.some)
		r.rests.Store(false)
	}
	err = errors.Join(err, r.sleeps(0))
	if err == nil && r.pace.First > 0 && r.some() {
		err = r.wait(r.pace.First, r.crowded)
	}
	return err
}

// Waits says whether there is something to read.
func (r *Ring) Waits() bool { return r.some() }

// Fill is how much waits to be read, in thousandths of the ring.
func (r *Ring) Fill() uint32 { return uint32(r.waiting() * 1000 / r.size) }

// Close ends Rest. What is in the ring can't be read any more.
func (r *Ring) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	err := r.reader.Close()
	r.mu.Unlock()
	return errors.Join(err, r.file.Close()) // waits for who waits, who may be looking
}

// sleeps tells the programs. A write of four bytes is one of the whole.
func (r *Ring) sleeps(v byte) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return os.ErrClosed
	}
	_, err := r.asleep.WriteAt([]byte{v, 0, 0, 0}, 0)
	return err
}

// wait returns once it is enough, which is asked whenever the ring rings, after
// d at the latest; 0: never.
func (r *Ring) wait(d time.Duration, enough func() bool) error {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	err := r.file.SetReadDeadline(end)
	if err == nil {
		err = r.raw.Read(func(uintptr) bool { return enough() })
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return os.ErrClosed
	}
	return fmt.Errorf("wait for a ring: %w", err)
}

func (r *Ring) some() bool { return r.waiting() > 0 }

// crowded is when the programs wake a reader that is at work.
func (r *Ring) crowded() bool { return r.waiting() >= r.size/wakeFraction }

func (r *Ring) waiting() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return 0
	}
	return r.reader.AvailableBytes()
}

// wakeFraction of a ring is what waits at most for a reader that is at work.
const wakeFraction = 4
