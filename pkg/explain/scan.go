// SPDX-License-Identifier: Apache-2.0

package explain

import "encoding/json"

// scan reads a query that is written plainly: one flat object of the known
// keys, strings of printable ASCII without escapes, whole numbers. It says
// false, and leaves q half filled, for everything else: that is
// [json.Unmarshal]'s, which takes several times as long.
func (q *Query) scan(line []byte) bool {
	s := scanner{b: line}
	if !s.skip('{') {
		return false
	}
	for {
		key, ok := s.text()
		if !ok || !s.skip(':') {
			return false
		}
		switch string(key) {
		case "id":
			from := s.start()
			if text, ok := s.text(); ok {
				q.ID = json.RawMessage(s.b[s.at-len(text)-2 : s.at])
			} else if s.at = from; s.number() != nil {
				q.ID = json.RawMessage(s.b[from:s.at])
			} else {
				return false
			}
		case "from", "to", "protocol":
			text, ok := s.text()
			if !ok {
				return false
			}
			switch key[0] {
			case 'f':
				q.From = string(text)
			case 't':
				q.To = string(text)
			default:
				q.Protocol = string(text)
			}
		case "port":
			digits := s.number()
			if digits == nil || len(digits) > 4 && (len(digits) > 5 || string(digits) > "65535") {
				return false
			}
			n := 0
			for _, c := range digits {
				n = n*10 + int(c-'0')
			}
			q.Port = Port{Number: uint16(n)} //nolint:gosec // checked above
		default:
			return false
		}
		if s.skip(',') {
			continue
		}
		return s.skip('}') && s.start() == len(s.b)
	}
}

// scanner is a place in a line.
type scanner struct {
	b  []byte
	at int
}

// start goes to where the next token starts.
func (s *scanner) start() int {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\t' || s.b[s.at] == '\r') {
		s.at++
	}
	return s.at
}

func (s *scanner) skip(c byte) bool {
	if s.start() == len(s.b) || s.b[s.at] != c {
		return false
	}
	s.at++
	return true
}

// text is what stands between the next two quotes.
func (s *scanner) text() ([]byte, bool) {
	if !s.skip('"') {
		return nil, false
	}
	for i := s.at; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			text := s.b[s.at:i]
			s.at = i + 1
			return text, true
		case c < ' ', c > '~', c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// number is a whole number as JSON writes it, without a sign; nil: none.
func (s *scanner) number() []byte {
	from := s.start()
	for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
		s.at++
	}
	digits := s.b[from:s.at]
	switch {
	case len(digits) == 0, digits[0] == '0' && len(digits) > 1:
		return nil
	case s.at < len(s.b) && (s.b[s.at] == '.' || s.b[s.at] == 'e' || s.b[s.at] == 'E'):
		return nil
	}
	return digits
}
