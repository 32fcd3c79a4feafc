/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What this processor found of late. Whoever opens a connection mostly opens
 * the next one to the same port of the same peer: one comparison in place
 * stands for four look-ups in tables, each of which takes half the time of
 * all that an established packet needs. If the peer is another one, all but
 * its class is mostly known: see homes, recent_ports and recent_matches.
 *
 * Entries bear the epoch in which they were found, so whatever changes a table
 * makes them void. They are written and read with soft interrupts off, by their
 * own processor: never by two at a time.
 */

#include "maps.h"
#include "packet.h"

#define RECENT 256 /* entries of each processor; what comes to the same place replaces what was there */

/* Everything that judge depends on but for the tables, and what it found. A
 * cache line. */
struct recent {
	__u64 local[2];
	__u64 peer[2];
	__u64 what; /* port in network order, protocol, direction of the connection */
	__u32 epoch;
	__u32 endpoint;
	struct judgement judgement;
};
_Static_assert(sizeof(struct recent) == 64, "a cache line");

/* Key: a hash of the packet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT);
	__type(key, __u32);
	__type(value, struct recent);
} recent SEC(".maps");

struct recent_port {
	__u64 key; /* struct port_key */
	__u32 epoch;
	__u32 class;
};
_Static_assert(sizeof(struct recent_port) == 16, "no holes");

/* Key: a hash of the port's key. For peers that are new on ports that aren't. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT);
	__type(key, __u32);
	__type(value, struct recent_port);
} recent_ports SEC(".maps");

/* Whose an address is: of the endpoint, which is seven cache lines, what every
 * new flow needs. */
struct home {
	__u64 local[2];
	__u32 epoch;
	__u32 endpoint;
	__u32 ingress; /* id of the set, 0: nothing judges */
	__u32 egress;
};
_Static_assert(sizeof(struct home) == 32, "half a cache line");

/* Key: a hash of the address. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT);
	__type(key, __u32);
	__type(value, struct home);
} homes SEC(".maps");

#define RECENT_MATCHES 1024

/* What peers of a class are answered, so that the rules' bits are seldom weighed
 * twice. The tables depend on no more than the key of a match, and on whether
 * policies define the protocol. */
struct recent_match {
	__u32 set;
	__u32 peer;
	__u32 ports; /* 0x10000 on top: has_ports */
	__u32 epoch;
	struct judgement judgement;
};
_Static_assert(sizeof(struct recent_match) == 32, "half a cache line");

/* Key: a hash of the match's. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT_MATCHES);
	__type(key, __u32);
	__type(value, struct recent_match);
} recent_matches SEC(".maps");

/* place: the upper bits of a product depend on all of what was multiplied. */
static __always_inline __u32 place(__u64 word)
{
	return word * 0x9e3779b97f4a7c15ULL >> 56;
}

static __always_inline __u32 place_of_match(__u32 set, __u32 peer, __u32 ports)
{
	return (peer ^ (__u64)ports << 20 ^ (__u64)set << 36) * 0x9e3779b97f4a7c15ULL >> 54;
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static __always_inline __u64 asked(const struct tuple *t, __u32 direction)
{
	__u64 port = direction == DIRECTION_EGRESS ? t->peer_port : t->local_port;

	return (has_ports(t->protocol) ? port : 0) | (__u64)t->protocol << 16 | (__u64)direction << 24;
}

/* recent_of: where such a packet would be, whatever stands there now. */
static __always_inline struct recent *recent_of(const struct tuple *t, __u64 what)
{
	__u32 at = place(t->word[1] ^ (t->word[3] << 11 | t->word[3] >> 53) ^ what << 29);

	return bpf_map_lookup_elem(&recent, &at);
}

static __always_inline bool is_recent(const struct recent *r, const struct tuple *t, __u64 what, __u32 now_epoch)
{
	return r->epoch == now_epoch && r->what == what && r->peer[1] == t->word[3] && r->local[1] == t->word[1] &&
	       r->peer[0] == t->word[2] && r->local[0] == t->word[0];
}

static __always_inline void remember(struct recent *r, const struct tuple *t, __u64 what, const struct conn *conn)
{
	r->local[0] = t->word[0];
	r->local[1] = t->word[1];
	r->peer[0] = t->word[2];
	r->peer[1] = t->word[3];
	r->what = what;
	r->epoch = conn->epoch;
	r->endpoint = conn->endpoint;
	r->judgement = conn->judgement;
}
