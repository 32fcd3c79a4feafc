// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// wholeUpTo is how much of a file is read from its beginning to go back in it;
// beyond, the last key before the moment is the beginning, and what was over
// by then isn't known.
const wholeUpTo = 16 << 20

// Past gives apply the frames of a recording up to a moment, in order: what a
// store must be told to show the world as it was. The recording may still be
// written. r is not closed.
func Past(r io.Reader, until time.Time, apply func(*wire.Frame)) error {
	if s, ok := r.(io.ReadSeeker); ok {
		if err := skipTo(s, until); err != nil {
			return fmt.Errorf("recording: %w", err)
		}
	} else if err := skipHeader(r); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(maxDecoded))
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	defer z.Close()
	frames := wire.NewReader(z)
	repeats, marks := false, 0
	for {
		f, err := frames.Read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("recording is damaged after %d bytes of content: %w", frames.Offset(), err)
		}
		m := f.GetMark()
		switch {
		case m != nil:
			if time.Unix(0, m.GetTimeNs()).After(until) && marks > 1 { // the first key is always told
				return nil
			}
			repeats = m.GetKeyBegin() && marks > 0 || repeats && !m.GetKeyEnd()
			marks++
		case f.GetBody() != nil && !repeats:
			apply(f)
		}
	}
}

func skipHeader(r io.Reader) error {
	_, err := readHeader(bufio.NewReaderSize(&oneByOne{r}, 1))
	return err
}

// oneByOne keeps a buffer from reading ahead of what it is asked for.
type oneByOne struct{ r io.Reader }

func (o *oneByOne) Read(b []byte) (int, error) { return o.r.Read(b[:min(len(b), 1)]) }

// skipTo leaves s where to begin to read.
func skipTo(s io.ReadSeeker, until time.Time) error {
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return err
	}
	br := bufio.NewReaderSize(s, 64<<10)
	if _, err := readHeader(br); err != nil {
		return err
	}
	at, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	first := at - int64(br.Buffered())
	begin := first
	for at := first; ; {
		key, next, ok := keyAt(s, at)
		if !ok || key.After(until) {
			break
		}
		if next-first > wholeUpTo {
			begin = at
		}
		at = next
	}
	_, err = s.Seek(begin, io.SeekStart)
	return err
}

// keyAt reads the key at an offset and finds the next one behind the zstd frame
// that follows it. A frame that is still being written is the last.
func keyAt(s io.ReadSeeker, at int64) (key time.Time, next int64, ok bool) {
	var head [8]byte
	read := func(b []byte) bool {
		_, err := s.Seek(at, io.SeekStart)
		if err == nil {
			_, err = io.ReadFull(s, b)
		}
		at += int64(len(b))
		return err == nil
	}
	body := make([]byte, len(keyMagic)+8)
	if !read(head[:]) || binary.LittleEndian.Uint32(head[:]) != 0x184d2a50 || int(binary.LittleEndian.Uint32(head[4:])) != len(body) || !read(body) {
		return key, 0, false
	}
	key = time.Unix(0, int64(binary.BigEndian.Uint64(body[len(keyMagic):]))) //nolint:gosec // as it was written
	var frame zstd.Header
	start := make([]byte, zstd.HeaderMaxSize)
	from := at
	if _, err := s.Seek(at, io.SeekStart); err != nil {
		return key, 0, false
	}
	n, err := io.ReadFull(s, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || frame.Decode(start[:n]) != nil {
		return key, 0, false
	}
	at = from + int64(frame.HeaderSize)
	for {
		var block [3]byte
		if !read(block[:]) {
			return key, 0, false
		}
		b := uint32(block[0]) | uint32(block[1])<<8 | uint32(block[2])<<16
		size := int64(b >> 3)
		if b>>1&3 == 1 { // one byte that repeats
			size = 1
		}
		at += size
		if b&1 == 1 {
			break
		}
	}
	if frame.HasCheckSum {
		at += 4
	}
	return key, at, true
}
