// SPDX-License-Identifier: Apache-2.0

package store

// takes and leftBy count how many of a pair's rows a view takes. There is one
// view: what was counted for another is nothing.
func (p *pair) takes(view uint32) {
	if p.takenBy != view {
		p.taken, p.takenBy = 0, view
	}
	p.taken++
}

func (p *pair) leftBy(view uint32) {
	if view != 0 && p.takenBy == view {
		p.taken--
	}
}

// narrowed are the pairs of the rows that a view takes. Most filters take all
// of a pair's rows or none, so that what is kept of the pair is the answer;
// only where they take some of them those are summed up.
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
		some := &pair{key: p.key, ticks: s.sums.ticks, meet: p.meet, PairRow: PairRow{ID: p.ID}}
		for r := p.some; r != nil; r = r.sum.next {
			if r.sum.taken != v.number {
				continue
			}
			if some.newest == nil {
				some.newest, some.First, some.Last = r, r.first, r.last.time()
			}
			some.add(r, s.rateOf(r))
		}
		list = append(list, some.enter())
	}
	return list
}
