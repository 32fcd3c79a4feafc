/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What a packet is to the programs: a tuple, seen from the endpoint, and the
 * keys made of it.
 */

#include "maps.h"
#include <bpf/bpf_endian.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

enum opener {
	OPENER_SENDER,  /* this packet opens the connection, if there is none */
	OPENER_OTHER,   /* it answers the one that did */
	OPENER_UNKNOWN, /* it is from the middle of one */
	OPENER_NONE,    /* it is from the end of one: not worth an entry */
};

/* A packet, seen from the endpoint. It begins as the key of its connection. */
struct tuple {
	union {
		struct conn6_key key;
		__u64 word[5];
		struct {
			struct addr local;
			struct addr peer;
			union {
				struct {
					__be16 local_port;
					__be16 peer_port;
				};
				__u32 ports; /* both at once */
			};
			__u8 protocol;
			__u8 zero[3];
		};
	};
	__u8 family; /* 4 or 6 */
	__u8 tcp_flags;
	__u8 opener;
	__u8 pad;
	__u32 headers; /* bytes from what follows the link header to the payload */
	__u32 payload; /* bytes; 0 in fragments. A frame may be longer than both: it is padded */
	__u32 egress;  /* 1: it leaves the endpoint */
};

enum parsed {
	PARSED,
	PASS_NOT_IP,
	PASS_CUT_SHORT,
	PASS_FRAGMENT_LOST,
	PASS_NEIGHBOUR,
	PASS_RELATED,
	PASS_UNRELATED,
};

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) |
		 (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}

/* Keys are put together in registers and written in whole words: a look-up
 * that reads a word just after its halves were written waits for both. */
union key4 {
	struct conn4_key key;
	__u64 word[2];
};

union key6 {
	struct conn6_key key;
	__u64 word[5];
};

/* local_first: the ports of a transport header, the endpoint's first. */
static __always_inline __u32 local_first(__u32 both, __u32 egress)
{
	return egress ? both : both << 16 | both >> 16;
}

static __always_inline struct addr mapped(__be32 v4)
{
	return (struct addr){ { 0, 0, bpf_htonl(0xffff), v4 } };
}

static __always_inline __u32 link_header(void)
{
	return no_link_header ? 0 : ETH_HLEN;
}
