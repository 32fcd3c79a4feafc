// SPDX-License-Identifier: Apache-2.0

package part

import (
	"strings"

	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Segment is one fact of a bar.
type Segment struct {
	Text  string // not painted
	Paint style.Paint
	Rank  int // the highest goes first when it gets narrow; rank 0 is cut last
}

// Bar draws left's segments from the left and right's from the right, in
// exactly width cells. What doesn't fit is left out by rank, whole segments
// first.
func Bar(th *style.Theme, width int, left, right []Segment) string {
	s, _ := BarAt(th, width, left, right)
	return s
}

// At is where a segment was drawn: the cells from From to before To.
type At struct{ Index, From, To int }

// BarAt is Bar, and where those of left's segments stand that found room.
func BarAt(th *style.Theme, width int, left, right []Segment) (string, []At) {
	if width <= 0 {
		return "", nil
	}
	left, right = append([]Segment(nil), left...), append([]Segment(nil), right...)
	at := make([]At, len(left))
	for i := range at {
		at[i].Index = i
	}
	for !Fits(width, left, right) {
		l, r := worst(left), worst(right)
		switch {
		case r >= 0 && (l < 0 || right[r].Rank >= left[l].Rank):
			right = append(right[:r], right[r+1:]...)
		case l >= 0:
			left = append(left[:l], left[l+1:]...)
			at = append(at[:l], at[l+1:]...)
		default:
			return Cut(paint(left), width, th.Ellipsis), stand(at, left)
		}
	}
	return paint(left) + Spaces(width-total(left)-total(right)) + paint(right), stand(at, left)
}

// Fits is whether Bar would draw all of it.
func Fits(width int, left, right []Segment) bool { return total(left)+total(right)+1 <= width }

func stand(at []At, segments []Segment) []At {
	x := 0
	for i := range at {
		at[i].From, at[i].To = x, x+Width(segments[i].Text)
		x = at[i].To + gap
	}
	return at
}

func total(segments []Segment) int {
	n := 0
	for i, s := range segments {
		if i > 0 {
			n += gap
		}
		n += Width(s.Text)
	}
	return n
}

// worst is the index of the segment to leave out next, -1 if all must stay.
func worst(segments []Segment) int {
	at := -1
	for i, s := range segments {
		if s.Rank > 0 && (at < 0 || s.Rank >= segments[at].Rank) {
			at = i
		}
	}
	return at
}

func paint(segments []Segment) string {
	var out strings.Builder
	for i, s := range segments {
		if i > 0 {
			out.WriteString(blanks[:gap])
		}
		out.WriteString(s.Paint.S(s.Text))
	}
	return out.String()
}
