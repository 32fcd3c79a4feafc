/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The table of connections, by tuple.
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

/* find is a call of its own to keep its keys off the deepest stack: all frames
 * together may take 512 bytes. */
static __noinline struct conn *find(const struct tuple *t)
{
	if (t->family == 4) {
		union key4 k;

		key4(t, &k);
		return bpf_map_lookup_elem(&conns4, &k.key);
	} else {
		union key6 k;

		key6(t, &k);
		return bpf_map_lookup_elem(&conns6, &k.key);
	}
}

static __always_inline int insert(const struct tuple *t, const struct conn *conn)
{
	if (t->family == 4) {
		union key4 k;

		key4(t, &k);
		return bpf_map_update_elem(&conns4, &k.key, conn, BPF_NOEXIST);
	} else {
		union key6 k;

		key6(t, &k);
		return bpf_map_update_elem(&conns6, &k.key, conn, BPF_NOEXIST);
	}
}
