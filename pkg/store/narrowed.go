// SPDX-License-Identifier: Apache-2.0

package store

import "time"

// takes and leftBy count which of a pair's rows a view takes. There is one
// view: what was counted for another is nothing.
func (s *Store) takes(r *row, view uint32) {
	p := r.sum.pair
	if p.takenBy != view {
		p.taken, p.takenBy, p.share = 0, view, nil
	}
	p.taken++
	r.sum.taken = view
	if share := p.shareOf(view); share != nil {
		share.catchUp(s.sums.ticks)
		share.gains(r, s.rateOf(r))
	}
}

func (s *Store) leftBy(r *row) {
	p, view := r.sum.pair, r.sum.taken
	r.sum.taken = 0
	if view == 0 || p.takenBy != view {
		return
	}
	p.taken--
	if share := p.shareOf(view); share != nil {
		share.catchUp(s.sums.ticks)
		share.loses(r, s.rateOf(r))
	}
}

// shareOf is what a view takes of a pair, kept up to date as its rows change;
// nil: nobody has asked for it yet.
func (p *pair) shareOf(view uint32) *pair {
	if view == 0 || p.takenBy != view {
		return nil
	}
	return p.share
}

// gains adds a row to a share by what it has added to the pair so far.
func (p *pair) gains(r *row, rate float64) {
	c := &r.sum
	p.Flows++
	if c.open {
		p.Open++
	}
	p.more(c.in+c.out, c.packets, c.faults, r.last.time())
	p.Rate += rate
	if p.First.IsZero() || r.first.Before(p.First) {
		p.First = r.first
	}
	if !p.unsure && (p.newest == nil || r.seq > p.newest.seq) {
		p.newest = r
	}
}

// loses takes it out again. When the share began and when it was last heard of
// stay, as they do for whole pairs.
func (p *pair) loses(r *row, rate float64) {
	c := &r.sum
	p.Flows--
	if c.open {
		p.Open--
	}
	p.Packets -= c.packets
	p.Bytes -= c.in + c.out
	p.Faults -= c.faults
	p.Rate = max(0, p.Rate-rate)
	if p.newest == r {
		p.newest, p.unsure = nil, true
	}
}

// more adds what was told of one of the pair's rows.
func (p *pair) more(bytes, packets, faults uint64, last time.Time) {
	p.Bytes += bytes
	p.Packets += packets
	p.Faults += faults
	if last.After(p.Last) {
		p.Last = last
	}
}

// narrowed are the pairs of the rows that a view takes. Most filters take all
// of a pair's rows or none, so that what is kept of the pair is the answer.
// Where they take some, those are summed up when it is first asked for, and
// kept up to date from then on: walking through them for each frame took a
// hundredth of a second of a hundred thousand connections.
func (s *Store) narrowed(v *view) []pairEntry {
	list := make([]pairEntry, 0, len(s.sums.list))
	for _, e := range s.sums.list {
		p := e.pair
		switch {
		case p.takenBy != v.number || p.taken == 0:
			continue
		case p.taken == p.Flows:
			list = append(list, e)
			continue
		}
		if p.share == nil {
			p.share = &pair{key: p.key, ticks: s.sums.ticks, meet: p.meet, PairRow: PairRow{ID: p.ID}}
			for r := p.some; r != nil; r = r.sum.next {
				if r.sum.taken == v.number {
					p.share.gains(r, s.rateOf(r))
				}
			}
		}
		if p.share.unsure {
			p.newestTaken(v.number)
		}
		list = append(list, p.share.enter())
	}
	return list
}

// newestTaken finds the newest row of the pair's share. Mostly rows stand in the
// order in which they came, and it is one of the first.
func (p *pair) newestTaken(view uint32) {
	p.share.unsure = false
	for r := p.some; r != nil; r = r.sum.next {
		if r.sum.taken != view {
			continue
		}
		if p.share.newest == nil || r.seq > p.share.newest.seq {
			p.share.newest = r
		}
		if !p.mixed {
			return
		}
	}
}
