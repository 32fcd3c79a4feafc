// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// maxLine bounds one query.
const maxLine = 1 << 20

var errLongLine = fmt.Errorf("the line is longer than %d MiB", maxLine>>20)

// lineReader reads lines, and passes over what is left of one that is too long.
type lineReader struct {
	in     *bufio.Reader
	number int    // of the line read last, from 1
	long   []byte // room for lines that the reader's own doesn't hold
}

// next is the next line, valid until the one after it. With [errLongLine] it is
// the beginning of a line that is too long.
func (l *lineReader) next() ([]byte, error) {
	l.number++
	line, err := l.in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = nil
		}
		return bytes.TrimPrefix(line, byteOrderMark), err
	}
	l.long = append(l.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.in.ReadSlice('\n')
		if len(l.long) <= maxLine {
			l.long = append(l.long, line...)
		}
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case len(l.long) > maxLine:
		return l.long, errLongLine
	}
	return l.long, nil
}

// byteOrderMark is what some editors put before the first line.
var byteOrderMark = []byte("\xef\xbb\xbf")

var leadingID = regexp.MustCompile(`^\s*\{\s*"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)`)

// idOf is the id of a line that is no query: as far as it was read, or as it
// stands first.
func idOf(q *Query, line []byte) json.RawMessage {
	if len(q.ID) > 0 {
		return q.ID
	}
	if m := leadingID.FindSubmatch(line[:min(len(line), 1<<10)]); m != nil && json.Valid(m[1]) {
		return m[1]
	}
	return nil
}

// inWords says what is wrong with a line without Go's words for it.
func inWords(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("this is no JSON: %w", err)
	case !errors.As(err, &wrong):
		return err // of the port
	case wrong.Field == "":
		return errors.New("this is no JSON object")
	}
	return fmt.Errorf("%q: a %s stands where a %s is wanted", wrong.Field, wrong.Value, wrong.Type)
}
