// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const (
	flushEvery = time.Second
	keyEvery   = time.Minute
	markEvery  = 50 * time.Millisecond
	window     = 1 << 20 // bytes; what a reader must hold
)

// Options of a recording.
type Options struct {
	Source  string // what is recorded, for people: "cluster CONTEXT", "this machine"
	Program string // who records, with its version
}

// Tee is a Source that can also write what passes, from the start or from any
// later moment: it remembers what a reader must know.
type Tee struct {
	src   session.Source
	out   chan *wire.Frame
	calls chan func()
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once

	// used by run alone
	known *known
	w     *writer // nil: nothing is written
	last  time.Time
	key   time.Time
	err   error // of writing; the session goes on without
}

var _ session.Source = (*Tee)(nil)

// Wrap passes src's frames on, and records nothing until it is told to.
func Wrap(src session.Source) *Tee {
	t := newTee(src)
	go t.run()
	return t
}

// newTee is a Tee through which nothing runs yet.
func newTee(src session.Source) *Tee {
	return &Tee{src: src, out: make(chan *wire.Frame, 64), calls: make(chan func()), quit: make(chan struct{}), done: make(chan struct{}), known: newKnown()}
}

// Create starts a recording of src in a new file; see [Tee.Start].
func Create(path string, src session.Source, o Options) (*Tee, error) {
	f, err := create(path)
	if err != nil {
		return nil, err
	}
	t := newTee(src)
	// Before the first frame passes: none shall be missed.
	if t.w, err = newWriter(f, o); err == nil {
		t.startKey()
	}
	go t.run()
	if err != nil {
		err = errors.Join(fmt.Errorf("recording: %w", err), f.Close())
	}
	return t, err
}

// Start begins to record to a new file that only its owner can read: it holds
// names and addresses. A file that is there already is an error, and so is a
// recording that runs.
func (t *Tee) Start(path string, o Options) error {
	f, err := create(path)
	if err != nil {
		return err
	}
	err = t.StartTo(f, o)
	if err != nil {
		_ = os.Remove(path) // it is empty
	}
	return err
}

// Check says why a recording can't begin at path, so that nothing is started
// whose recording would fail. It makes no file.
func Check(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return errTaken(path)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("recording %q: %w", path, err)
	}
	return nil
}

func errTaken(path string) error {
	return fmt.Errorf("recording %q: there is such a file already: give another name, or remove it", path)
}

func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the user names the file
	if errors.Is(err, os.ErrExist) {
		return nil, errTaken(path)
	}
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	return f, nil
}

// StartTo is Start to w, which is closed at the end.
func (t *Tee) StartTo(w io.WriteCloser, o Options) error {
	fail := errors.New("the session is over")
	t.call(func() {
		if t.w != nil {
			fail = errors.New("a recording runs already")
			return
		}
		if t.w, fail = newWriter(w, o); fail == nil {
			t.err = nil
			t.startKey()
		}
	})
	if fail != nil {
		return errors.Join(fmt.Errorf("recording: %w", fail), w.Close())
	}
	return nil
}

// Stop ends the recording that runs; the session goes on, and another can be
// started.
func (t *Tee) Stop() error {
	fail := errors.New("the session is over")
	t.call(func() {
		if t.w == nil {
			fail = errors.New("no recording runs")
			return
		}
		fail = t.err
		for _, err := range []error{t.w.close(), t.w.file.Close()} {
			if fail == nil {
				fail = err
			}
		}
		t.w, t.err = nil, nil
	})
	if fail != nil {
		return fmt.Errorf("recording: %w", fail)
	}
	return nil
}

// call runs f where frames are written, if that still goes on.
func (t *Tee) call(f func()) {
	ran := make(chan struct{})
	select {
	case t.calls <- func() { f(); close(ran) }:
		<-ran
	case <-t.done:
	}
}

func (t *Tee) run() {
	defer close(t.done)
	defer close(t.out)
	defer t.finish()
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	frames := t.src.Frames()
	for {
		select {
		case f, open := <-frames:
			if !open {
				return
			}
			notice := t.write(f)
			if !t.pass(f) || notice != nil && !t.pass(notice) {
				return
			}
		case f := <-t.calls:
			f()
		case now := <-flush.C:
			if !t.writing() {
				continue
			}
			if now.Sub(t.key) >= keyEvery {
				t.startKey()
			}
			t.check(t.w.flush())
		case <-t.quit:
			return
		}
	}
}

func (t *Tee) writing() bool { return t.w != nil && t.err == nil }

func (t *Tee) pass(f *wire.Frame) bool {
	select {
	case t.out <- f:
		return true
	case <-t.quit:
		return false
	}
}

// write keeps a frame before anyone else gets it. It returns a notice for the
// user when writing has failed for the first time.
func (t *Tee) write(f *wire.Frame) *wire.Frame {
	if !t.writing() {
		t.known.note(f)
		return nil
	}
	if now := time.Now(); now.Sub(t.last) >= markEvery {
		t.last = now
		t.put(&wire.Frame{Body: &wire.Frame_Mark{Mark: &wire.Mark{TimeNs: now.UnixNano()}}})
	}
	t.put(f)
	t.known.note(f)
	if t.err == nil {
		return nil
	}
	return &wire.Frame{TimeNs: time.Now().UnixNano(), Body: &wire.Frame_Notice{Notice: &wire.Notice{
		Level: wire.Notice_WARN, Text: wire.Clean("the recording stops here, the session goes on: "+t.err.Error(), 500),
	}}}
}

// startKey begins a part of the file that can be read without what is before it.
func (t *Tee) startKey() {
	now := time.Now()
	t.key = now
	t.check(t.w.next(now))
	t.put(&wire.Frame{Body: &wire.Frame_Mark{Mark: &wire.Mark{TimeNs: now.UnixNano(), KeyBegin: true}}})
	t.known.tell(t.put)
	t.put(&wire.Frame{Body: &wire.Frame_Mark{Mark: &wire.Mark{TimeNs: now.UnixNano(), KeyEnd: true}}})
}

func (t *Tee) put(f *wire.Frame) {
	if t.writing() {
		t.check(t.w.frame(f))
	}
}

func (t *Tee) check(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *Tee) finish() {
	if t.w != nil {
		t.check(t.w.close())
		t.check(t.w.file.Close())
	}
}

// Frames implements [session.Source].
func (t *Tee) Frames() <-chan *wire.Frame { return t.out }

// Err implements [session.Source].
func (t *Tee) Err() error { return t.src.Err() }

// Close implements [session.Source]. It closes the source, keeps what it still
// said, and says whether the recording is whole.
func (t *Tee) Close(ctx context.Context) error {
	err := t.src.Close(ctx)
	t.once.Do(func() { close(t.quit) })
	<-t.done
	if t.err != nil {
		err = errors.Join(err, fmt.Errorf("the recording is not whole: %w", t.err))
	}
	return err
}

// writer writes frames into a row of zstd frames.
type writer struct {
	file io.WriteCloser
	enc  *zstd.Encoder
	buf  []byte
}

// newWriter writes the head of the file.
func newWriter(w io.WriteCloser, o Options) (*writer, error) {
	header, err := proto.Marshal(&wire.RecordHeader{
		Version: version, CreatedNs: time.Now().UnixNano(), Source: wire.Clean(o.Source, 1000), Program: wire.Clean(o.Program, 200),
	})
	if err != nil {
		return nil, err
	}
	head := binary.AppendUvarint([]byte(magic), uint64(len(header)))
	if _, err := w.Write(append(head, header...)); err != nil {
		return nil, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &writer{file: w, enc: enc}, nil
}

// next ends the present zstd frame and starts another, after a skippable one
// that can be found.
func (w *writer) next(now time.Time) error {
	if err := w.close(); err != nil {
		return err
	}
	key := binary.LittleEndian.AppendUint32(nil, 0x184d2a50) // a skippable frame of zstd
	key = binary.LittleEndian.AppendUint32(key, uint32(len(keyMagic)+8))
	key = append(key, keyMagic...)
	key = binary.BigEndian.AppendUint64(key, uint64(now.UnixNano())) //nolint:gosec // after 1970
	if _, err := w.file.Write(key); err != nil {
		return err
	}
	w.enc.Reset(w.file)
	return nil
}

func (w *writer) frame(f *wire.Frame) error {
	out, err := wire.Append(w.buf[:0], f)
	if err != nil {
		if _, large := errors.AsType[*wire.TooLargeError](err); large {
			return nil // one frame less is better than no recording
		}
		return err
	}
	w.buf = out[:0]
	_, err = w.enc.Write(out)
	return err
}

func (w *writer) flush() error { return w.enc.Flush() }

func (w *writer) close() error { return w.enc.Close() }
