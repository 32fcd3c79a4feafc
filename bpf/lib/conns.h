/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The tables of connections, by tuple.
 *
 * An IPv4 connection is in conns4 or, most often, in the one seat that its key
 * may have: an array is read in place, where a hash table is a call, a hash and
 * two to four cache lines more, for each packet. Who comes when the seat is
 * free takes it, and keeps it until user space frees it; others go to conns4.
 * Two processors that see the first packets of one connection in the same
 * moment may put it in both: then the seat is what counts, and user space takes
 * out the other.
 */

#include "packet.h"

static __always_inline void key4(const struct tuple *t, union key4 *k)
{
	k->word[0] = t->word[3] >> 32 << 32 | t->word[1] >> 32;
	k->word[1] = t->word[4];
}

static __always_inline void key6(const struct tuple *t, union key6 *k)
{
	k->word[0] = t->word[0];
	k->word[1] = t->word[1];
	k->word[2] = t->word[2];
	k->word[3] = t->word[3];
	k->word[4] = t->word[4];
}

/* seat_at: where the key may have its seat, as placeOf of probe/kernel has it.
 * The index is written to at: the deepest stack has no room for it. */
static __always_inline struct seat *seat_at(const union key4 *k, __u32 *at)
{
	*at = (k->word[0] * 0x9e3779b97f4a7c15ULL + k->word[1]) * 0x9e3779b97f4a7c15ULL >> 52;

	return bpf_map_lookup_elem(&seats4, at);
}

static __always_inline bool seats(const struct seat *s, const union key4 *k)
{
	return s->key[1] == k->word[1] && s->key[0] == k->word[0];
}

/* find4: lane is where packets of the direction are counted, if it has a seat. */
static __always_inline struct conn *find4(const union key4 *k, __u32 *at, __u32 egress, struct lane **lane)
{
	struct seat *s = seat_at(k, at);

	*lane = NULL;
	if (s && seats(s, k)) {
		*lane = &s->lanes[egress & 1];
		return &s->conn;
	}
	return bpf_map_lookup_elem(&conns4, &k->key);
}

/* move adds what a direction has counted to the connection. */
static __always_inline void move(struct conn *conn, struct lane *lane, int direction)
{
	__u64 sum = __sync_lock_test_and_set(&lane->sum, 0);

	__sync_fetch_and_add(&conn->packets[direction], sum >> LANE_PACKETS);
	__sync_fetch_and_add(&conn->bytes[direction], sum & ((1ULL << LANE_PACKETS) - 1));
}

/* fold: who looks at more than the verdict finds all counters in the connection.
 * User space reads it before the lanes, so it may count too few for a moment,
 * and never too many. */
static __always_inline void fold(struct seat *s)
{
	for (int i = 0; i < 2; i++) {
		struct lane *lane = &s->lanes[i];

		if (!lane->sum)
			continue;
		move(&s->conn, lane, i);
		if (s->conn.last_ns < lane->last_ns)
			s->conn.last_ns = lane->last_ns;
	}
}

/* insert4: the key's second word is written last, so whoever finds the
 * connection finds it whole. */
static __always_inline int insert4(const union key4 *k, const struct conn *conn)
{
	__u32 at;
	struct seat *s = seat_at(k, &at);

	if (!s || !k->word[1] || (s->key[1] && !seats(s, k)))
		return bpf_map_update_elem(&conns4, &k->key, conn, BPF_NOEXIST);
	if (s->key[1] || bpf_map_lookup_elem(&conns4, &k->key))
		return -EEXIST;
	if (__sync_val_compare_and_swap(&s->key[1], 0, SEAT_TAKEN))
		return bpf_map_update_elem(&conns4, &k->key, conn, BPF_NOEXIST);
	s->conn = *conn;
	for (int i = 0; i < 2; i++) /* a packet of who was here may have counted late */
		s->lanes[i].sum = s->lanes[i].last_ns = 0;
	s->key[0] = k->word[0];
	__sync_lock_test_and_set(&s->key[1], k->word[1]);
	return 0;
}

/* find is for all but the established packet. It is a call of its own to keep its
 * keys off the deepest stack: all frames together may take 512 bytes. */
static __noinline struct conn *find(const struct tuple *t)
{
	if (t->family == 4) {
		union key4 k;
		struct seat *s;
		__u32 at;

		key4(t, &k);
		s = seat_at(&k, &at);
		if (!s || !seats(s, &k))
			return bpf_map_lookup_elem(&conns4, &k.key);
		fold(s);
		return &s->conn;
	} else {
		union key6 k;

		key6(t, &k);
		return bpf_map_lookup_elem(&conns6, &k.key);
	}
}

static __noinline int insert(const struct tuple *t, const struct conn *conn)
{
	if (t->family == 4) {
		union key4 k;

		key4(t, &k);
		return insert4(&k, conn);
	} else {
		union key6 k;

		key6(t, &k);
		return bpf_map_update_elem(&conns6, &k.key, conn, BPF_NOEXIST);
	}
}
