// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
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

// Tee is a Source that also writes what passes.
type Tee struct {
	src  session.Source
	file io.WriteCloser
	out  chan *wire.Frame
	quit chan struct{}
	done chan struct{}
	once sync.Once

	w     *bufferedZstd
	known *known
	last  time.Time // mark
	key   time.Time
	err   error // of writing; the session goes on without
}

var _ session.Source = (*Tee)(nil)

// Create starts a recording of src in a new file that only its owner can
// read: it holds names and addresses. A file that is there already is an
// error.
func Create(path string, src session.Source, o Options) (*Tee, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the user names the file
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("recording %q: there is such a file already: give another name, or remove it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	t, err := New(f, src, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recording %q: %w", path, err), f.Close())
	}
	return t, nil
}

// New starts a recording of src to w, which it closes at the end.
func New(w io.WriteCloser, src session.Source, o Options) (*Tee, error) {
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
	z, err := newBufferedZstd(w)
	if err != nil {
		return nil, err
	}
	t := &Tee{src: src, file: w, out: make(chan *wire.Frame, 64), quit: make(chan struct{}), done: make(chan struct{}), w: z, known: newKnown()}
	go t.run()
	return t, nil
}

func (t *Tee) run() {
	defer close(t.done)
	defer close(t.out)
	defer t.finish()
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	t.startKey()
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
		case now := <-flush.C:
			if t.err == nil && now.Sub(t.key) >= keyEvery {
				t.startKey()
			}
			t.check(t.w.flush())
		case <-t.quit:
			return
		}
	}
}

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
	if t.err != nil {
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
	if t.err == nil {
		t.check(t.w.frame(f))
	}
}

func (t *Tee) check(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *Tee) finish() {
	t.check(t.w.close())
	t.check(t.file.Close())
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

// bufferedZstd writes frames into a row of zstd frames.
type bufferedZstd struct {
	w   io.Writer
	enc *zstd.Encoder
	buf []byte
}

func newBufferedZstd(w io.Writer) (*bufferedZstd, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &bufferedZstd{w: w, enc: enc}, nil
}

// next ends the present zstd frame and starts another, after a skippable one
// that can be found.
func (b *bufferedZstd) next(now time.Time) error {
	if err := b.close(); err != nil {
		return err
	}
	key := binary.LittleEndian.AppendUint32(nil, 0x184d2a50) // a skippable frame of zstd
	key = binary.LittleEndian.AppendUint32(key, uint32(len(keyMagic)+8))
	key = append(key, keyMagic...)
	key = binary.BigEndian.AppendUint64(key, uint64(now.UnixNano())) //nolint:gosec // after 1970
	if _, err := b.w.Write(key); err != nil {
		return err
	}
	b.enc.Reset(b.w)
	return nil
}

func (b *bufferedZstd) frame(f *wire.Frame) error {
	out, err := wire.Append(b.buf[:0], f)
	if err != nil {
		var large *wire.TooLargeError
		if errors.As(err, &large) {
			return nil // one frame less is better than no recording
		}
		return err
	}
	b.buf = out[:0]
	_, err = b.enc.Write(out)
	return err
}

func (b *bufferedZstd) flush() error { return b.enc.Flush() }

func (b *bufferedZstd) close() error { return b.enc.Close() }
