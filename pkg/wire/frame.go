// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of one frame.
const (
	MaxFrame = 1 << 20 // bytes, without the length before it
	MaxItems = 1 << 16 // messages within it, at any depth: an empty one takes two bytes here and hundreds in memory
)

// ErrMalformed is wrapped by every error that says the bytes are not frames.
// After it the stream is useless: nobody knows where the next frame starts.
var ErrMalformed = errors.New("malformed frame")

// TooLargeError says that a frame is over one of the bounds.
type TooLargeError struct {
	What  string // "bytes" or "messages"
	Size  uint64
	Limit uint64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("frame of %d %s is over the limit of %d", e.Size, e.What, e.Limit)
}

// Is makes a TooLargeError a malformed frame to [errors.Is].
func (e *TooLargeError) Is(target error) bool { return target == ErrMalformed }

// Reader takes frames off a byte stream. Not for concurrent use.
type Reader struct {
	r   *bufio.Reader
	buf []byte
	n   uint64
}

// NewReader reads frames from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Offset is how many bytes of whole frames have been read.
func (r *Reader) Offset() uint64 { return r.n }

// Read returns the next frame. Its Body is nil if this program doesn't know
// the kind: skip it, but count its seq. The error is io.EOF at the end of the
// stream between two frames, io.ErrUnexpectedEOF within one, and wraps
// [ErrMalformed] if the bytes are not frames.
func (r *Reader) Read() (*Frame, error) {
	size, width, err := readUvarint(r.r)
	if err != nil {
		return nil, err
	}
	if size > MaxFrame {
		return nil, &TooLargeError{"bytes", size, MaxFrame}
	}
	if uint64(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	b := r.buf[:size]
	if _, err := io.ReadFull(r.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	f, err := Decode(b)
	if err != nil {
		return nil, err
	}
	r.n += size + uint64(width)
	return f, nil
}

// readUvarint is binary.ReadUvarint with errors that tell a cut from garbage,
// and the number of bytes it took.
func readUvarint(r io.ByteReader) (uint64, int, error) {
	var x uint64
	for i := range binary.MaxVarintLen32 {
		b, err := r.ReadByte()
		if err != nil {
			if i > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, 0, err
		}
		x |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return x, i + 1, nil
		}
	}
	return 0, 0, fmt.Errorf("%w: its length has no end", ErrMalformed)
}

// Decode reads one frame without a length before it.
func Decode(b []byte) (*Frame, error) {
	if f := decodeFlows(b); f != nil {
		return f, nil
	}
	// A small frame is harmless whatever is in it.
	if len(b) > 2*MaxItems/8 {
		n, err := countMessages(b, (&Frame{}).ProtoReflect().Descriptor(), 0)
		if err != nil {
			return nil, err
		}
		if n > MaxItems {
			return nil, &TooLargeError{"messages", uint64(n), MaxItems}
		}
	}
	f := new(Frame)
	if err := proto.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return f, nil
}

// countMessages counts the messages within b, a message of kind md, and stops
// when n is over MaxItems. The schema has no recursion, so the depth is bounded.
func countMessages(b []byte, md protoreflect.MessageDescriptor, n int) (int, error) {
	fields := md.Fields()
	for len(b) > 0 && n <= MaxItems {
		num, typ, tagLen := protowire.ConsumeTag(b)
		if tagLen < 0 {
			return n, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(tagLen))
		}
		valLen := protowire.ConsumeFieldValue(num, typ, b[tagLen:])
		if valLen < 0 {
			return n, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(valLen))
		}
		if fd := fields.ByNumber(num); typ == protowire.BytesType && fd != nil && fd.Message() != nil {
			inner, _ := protowire.ConsumeBytes(b[tagLen:])
			var err error
			if n, err = countMessages(inner, fd.Message(), n+1); err != nil {
				return n, err
			}
		} else if fd == nil || typ == protowire.BytesType {
			n++ // unknown fields and strings are small, but there may be many
		}
		b = b[tagLen+valLen:]
	}
	return n, nil
}

// Writer puts frames on a byte stream, one Write call each. Safe for
// concurrent use.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	n   uint64
}

// NewWriter writes frames to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes one frame. A [TooLargeError] leaves the stream intact.
func (w *Writer) Write(f *Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := Append(w.buf[:0], f)
	if err != nil {
		return err
	}
	w.buf = b[:0]
	n, err := w.w.Write(b)
	w.n += uint64(n) //nolint:gosec // a length
	return err
}

// WriteEncoded writes a frame that [Append] made.
func (w *Writer) WriteEncoded(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.w.Write(b)
	w.n += uint64(n) //nolint:gosec // a length
	return err
}

// Written is how many bytes went out.
func (w *Writer) Written() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// Append appends a frame with its length before it.
func Append(b []byte, f *Frame) ([]byte, error) {
	size := proto.Size(f)
	if size > MaxFrame {
		return b, &TooLargeError{"bytes", uint64(size), MaxFrame}
	}
	b = binary.AppendUvarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, f)
	if err != nil {
		return b, fmt.Errorf("frame %d can't be written: %w", f.GetSeq(), err)
	}
	return b, nil
}
