// SPDX-License-Identifier: Apache-2.0

package store

import "hash/maphash"

// rowIndex finds rows by a key that can be read from the row. It keeps a hash
// instead of the key, which takes a third of the memory. Of two rows with one
// key, or one hash, the later is found.
type rowIndex[K comparable] struct {
	seed maphash.Seed
	key  func(*row) K
	rows hashed
}

func (x *rowIndex[K]) init(key func(*row) K) {
	*x = rowIndex[K]{seed: maphash.MakeSeed(), key: key}
}

func (x *rowIndex[K]) get(k K) *row {
	if r := x.rows.get(maphash.Comparable(x.seed, k)); r != nil && x.key(r) == k {
		return r
	}
	return nil
}

func (x *rowIndex[K]) put(r *row) { x.rows.put(maphash.Comparable(x.seed, x.key(r)), r) }

func (x *rowIndex[K]) drop(r *row) { x.rows.drop(maphash.Comparable(x.seed, x.key(r)), r) }
