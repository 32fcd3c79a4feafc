// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math/rand/v2"
	"testing"
)

// TestHashed holds the table to what a map of Go's does, with few hashes so
// that rows collide, and with the hashes of consecutive numbers.
func TestHashed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	for _, span := range []uint64{8, 200, 1 << 40} {
		var table hashed
		want := map[uint64]*row{}
		var known []*row
		for range 20_000 {
			hash := rnd.Uint64N(span)
			switch rnd.IntN(3) {
			case 0:
				r := &row{seq: hash}
				table.put(hash, r)
				want[hash] = r
				known = append(known, r)
			case 1:
				if table.get(hash) != want[hash] {
					t.Fatalf("span %d: hash %d isn't found", span, hash)
				}
			default:
				if len(known) == 0 {
					continue
				}
				r := known[rnd.IntN(len(known))] // often one that went or was replaced
				table.drop(r.seq, r)
				if want[r.seq] == r {
					delete(want, r.seq)
				}
			}
		}
		if table.n != len(want) || len(table.all()) != len(want) {
			t.Errorf("span %d: %d rows, %d listed, want %d", span, table.n, len(table.all()), len(want))
		}
		for hash, r := range want {
			if table.get(hash) != r {
				t.Errorf("span %d: hash %d isn't found at the end", span, hash)
			}
		}
	}
}
