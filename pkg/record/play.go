// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bufio"
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
	maxDecoded = 16 << 20 // bytes that the decoder may hold
	maxEmpty   = 100_000  // frames in a row that say nothing
	longestGap = 5 * time.Second
)

// Play says how to play a recording.
type Play struct {
	// Speed is 1 for as it was, 2 for twice as fast; 0: as fast as it is read.
	Speed float64
	// Paused waits for Player.SetPaused(false) once the first frames are there.
	Paused bool
	// Calm cuts long silences to 5 s.
	Calm bool
}

// Player is a recording as a Source.
type Player struct {
	header *wire.RecordHeader
	name   string
	file   io.Closer
	zstd   *zstd.Decoder
	r      *wire.Reader
	out    chan *wire.Frame
	quit   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu      sync.Mutex
	play    Play
	changed chan struct{} // closed and replaced when play changes
	at      time.Time     // of the recording
	err     error
}

var _ session.Source = (*Player)(nil)

// Open plays a file. The error wraps [ErrNotARecording] if it is something
// else.
func Open(path string, p Play) (*Player, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	player, err := OpenReader(path, f, p)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return player, nil
}

// OpenReader plays what r holds, and closes it at the end. name is for messages.
func OpenReader(name string, r io.ReadCloser, play Play) (*Player, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	header, err := readHeader(br)
	if err != nil {
		return nil, fmt.Errorf("recording %q: %w", name, err)
	}
	z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(maxDecoded))
	if err != nil {
		return nil, fmt.Errorf("recording %q: %w", name, err)
	}
	p := &Player{
		header: header, name: name, file: r, zstd: z, r: wire.NewReader(z), out: make(chan *wire.Frame, 64),
		quit: make(chan struct{}), done: make(chan struct{}), play: play, changed: make(chan struct{}),
	}
	go p.run()
	return p, nil
}

func readHeader(r *bufio.Reader) (*wire.RecordHeader, error) {
	var head [len(magic)]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:]) != magic {
		return nil, fmt.Errorf("%w: it doesn't begin with %q", ErrNotARecording, magic)
	}
	n, err := binary.ReadUvarint(r)
	if err != nil || n > maxHeader {
		return nil, fmt.Errorf("%w: its header is damaged", ErrNotARecording)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%w: its header is cut off", ErrNotARecording)
	}
	h := new(wire.RecordHeader)
	if err := proto.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("%w: its header is damaged: %w", ErrNotARecording, err)
	}
	if h.GetVersion() != version {
		return nil, fmt.Errorf("it is of form %d, this program reads form %d: use the release that wrote it (%s)", h.GetVersion(), version, wire.Clean(h.GetProgram(), 100))
	}
	return h, nil
}

// Header says what was recorded, when and by whom.
func (p *Player) Header() *wire.RecordHeader { return p.header }

// Created is when the recording began.
func (p *Player) Created() time.Time { return time.Unix(0, p.header.GetCreatedNs()) }

// At is the moment of the recording that is being played; zero before the first.
func (p *Player) At() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// SetSpeed changes the pace; see [Play.Speed].
func (p *Player) SetSpeed(speed float64) { p.set(func(play *Play) { play.Speed = max(0, speed) }) }

// SetPaused stops and goes on.
func (p *Player) SetPaused(paused bool) { p.set(func(play *Play) { play.Paused = paused }) }

func (p *Player) set(change func(*Play)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.play)
	close(p.changed)
	p.changed = make(chan struct{})
}

// run plays until the end, a damaged place, or Close.
func (p *Player) run() {
	defer close(p.done)
	defer close(p.out)
	defer p.zstd.Close()
	err := p.frames()
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, errClosed):
		return
	case errors.Is(err, io.ErrUnexpectedEOF):
		p.pass(&wire.Frame{TimeNs: p.At().UnixNano(), Body: &wire.Frame_Notice{Notice: &wire.Notice{
			Level: wire.Notice_WARN, Text: "the recording is cut off here: what wrote it was stopped in the middle",
		}}})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = fmt.Errorf("recording %q is damaged after %d bytes of content: %w", p.name, p.r.Offset(), err)
}

var errClosed = errors.New("closed")

func (p *Player) frames() error {
	repeats, passed, marks, empty := false, false, 0, 0
	for {
		f, err := p.r.Read()
		if err != nil {
			return err
		}
		m := f.GetMark()
		if f.GetBody() == nil || m != nil {
			if empty++; empty > maxEmpty {
				return fmt.Errorf("%w: too many frames that say nothing", wire.ErrMalformed)
			}
		}
		if f.GetBody() == nil {
			continue
		}
		if m != nil {
			repeats = m.GetKeyBegin() && marks > 0 || repeats && !m.GetKeyEnd()
			if err := p.wait(time.Unix(0, m.GetTimeNs()), passed); err != nil {
				return err
			}
			marks++
			continue
		}
		empty, passed = 0, true
		if !repeats && !p.pass(f) {
			return errClosed
		}
	}
}

func (p *Player) pass(f *wire.Frame) bool {
	select {
	case p.out <- f:
		return true
	case <-p.quit:
		return false
	}
}

// wait returns when it is time for what was recorded at t.
func (p *Player) wait(t time.Time, pause bool) error {
	p.mu.Lock()
	left := t.Sub(p.at)
	if p.at.IsZero() || left < 0 {
		left = 0
	}
	p.at = t
	p.mu.Unlock()
	for {
		p.mu.Lock()
		play, changed := p.play, p.changed
		p.mu.Unlock()
		if play.Calm {
			left = min(left, longestGap)
		}
		var timer <-chan time.Time
		began := time.Now()
		switch {
		case play.Paused && pause:
		case play.Speed <= 0 || left <= 0:
			return nil
		default:
			timer = time.After(time.Duration(float64(left) / play.Speed))
		}
		select {
		case <-timer:
			return nil
		case <-changed: // what has passed so far, at the pace of then
			if timer != nil {
				left -= time.Duration(float64(time.Since(began)) * play.Speed)
			}
		case <-p.quit:
			return errClosed
		}
	}
}

// Frames implements [session.Source].
func (p *Player) Frames() <-chan *wire.Frame { return p.out }

// Err implements [session.Source].
func (p *Player) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Close implements [session.Source].
func (p *Player) Close(context.Context) error {
	p.once.Do(func() { close(p.quit) })
	<-p.done
	return p.file.Close()
}
