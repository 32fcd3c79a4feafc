// SPDX-License-Identifier: Apache-2.0

package store

import (
	"container/heap"
	"slices"
)

// topK returns the k first of list in the order of cmp, sorted. It may reorder
// list. Most windows are small, so most of a large list is never sorted.
func topK[T any](list []T, k int, cmp func(a, b T) int) []T {
	if k >= len(list) || k > len(list)/4 {
		slices.SortFunc(list, cmp)
		return list[:min(k, len(list))]
	}
	if k <= 0 {
		return nil
	}
	// A heap whose root is the last of the k best so far.
	h := &worst[T]{list[:k:k], cmp}
	heap.Init(h)
	for i := k; i < len(list); i++ {
		if cmp(list[i], h.list[0]) < 0 {
			h.list[0] = list[i]
			heap.Fix(h, 0)
		}
	}
	slices.SortFunc(h.list, cmp)
	return h.list
}

type worst[T any] struct {
	list []T
	cmp  func(a, b T) int
}

func (h *worst[T]) Len() int           { return len(h.list) }
func (h *worst[T]) Less(i, j int) bool { return h.cmp(h.list[i], h.list[j]) > 0 }
func (h *worst[T]) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *worst[T]) Push(any)           {}
func (h *worst[T]) Pop() any           { return nil }

// best keeps the k first of what is added, however much that is.
type best[T any] struct {
	worst[T]
	k int
}

func newBest[T any](k int, cmp func(a, b T) int) *best[T] {
	return &best[T]{worst: worst[T]{cmp: cmp}, k: k}
}

func (b *best[T]) add(v T) {
	switch {
	case len(b.list) < b.k:
		b.list = append(b.list, v)
		if len(b.list) == b.k {
			heap.Init(&b.worst)
		}
	case b.k > 0 && b.cmp(v, b.list[0]) < 0:
		b.list[0] = v
		heap.Fix(&b.worst, 0)
	}
}

// sorted is what is kept, the first first. Nothing may be added after.
func (b *best[T]) sorted() []T {
	slices.SortFunc(b.list, b.cmp)
	return b.list
}
