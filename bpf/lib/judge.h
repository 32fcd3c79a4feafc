/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The two verdicts of a packet that opens a connection. This is
 * pkg/ruleset.Table.Judge in C: the same look-ups in the same order. A test
 * compares the two on generated rulesets; what policies leave open is
 * documented there (question.undecided), and only there.
 *
 * Functions here and in the other headers that aren't static are verified
 * once, for any arguments, and not once for each path that leads to a call:
 * without that the verifier gives up. The price is the checks for NULL.
 */

#include "recent.h"

static struct match no_match; /* never written; a writable map's pointer is what a global function takes */

/* decision: bit + 1 in the low 16 bits, then whether it denies. */
#define DECISION_DENY 0x10000
#define DECISION_BIT 0xffff

/* lowest: index of the only bit of one, by a de Bruijn sequence: the bits that
 * the product has on top differ for each. BPF has no instruction for it. */
static const __u8 lowest_of[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28,
	62, 5,  39, 46, 44, 42, 22, 9,  24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10,
	51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

static __always_inline __u32 lowest(__u64 one)
{
	return lowest_of[(one * 0x022fdd63cc95386dULL) >> 58];
}

/* below: the bits of word i that are lower than the given one. */
static __always_inline __u64 below(__u32 bit, __u32 i)
{
	if (bit >= 64 * (i + 1))
		return ~0ULL;
	if (bit <= 64 * i)
		return 0;
	return (1ULL << (bit & 63)) - 1;
}

static __always_inline __u32 verdict_of(const struct set *set, __u64 word, __u32 i)
{
	__u64 bit = word & -word;
	__u32 n = 64 * i + lowest(bit) + 1;

	return set->deny.word[i] & bit ? n | DECISION_DENY : n;
}

/* decide: action of the first bit of (matches | always) & mode. */
__noinline __u32 decide(const struct set *set, const struct bitmap *matches, const struct bitmap *mode)
{
	__u64 word, bit;
	__u32 admin;
	int i;

	if (!set || !matches || !mode)
		return 0;
#pragma unroll
	for (i = 0; i < WORDS; i++) {
		word = (matches->word[i] | set->always.word[i]) & mode->word[i];
		if (!word)
			continue;
		bit = word & -word;
		if (set->pass.word[i] & bit & below(set->admin_end, i))
			goto passed;
		return verdict_of(set, word, i);
	}
	return 0;
passed:
	admin = set->admin_end;
#pragma unroll
	for (i = 0; i < WORDS; i++) {
		word = (matches->word[i] | set->always.word[i]) & mode->word[i] & ~below(admin, i);
		if (word)
			return verdict_of(set, word, i);
	}
	return 0;
}

struct question {
	const struct set *set;
	const struct match *match;
	bool has_ports; /* policies define the protocol */
};

static __always_inline bool open_case(const struct question *q, __u32 decision)
{
	__u32 bit = decision & DECISION_BIT;

	return !q->has_ports && (decision & DECISION_DENY) &&
	       bit > q->set->isolate_start && bit <= q->set->baseline_start;
}

static __always_inline __u8 word_of(__u32 decision)
{
	return decision & DECISION_DENY ? VERDICT_DENY : VERDICT_ALLOW;
}

static __always_inline void mode_verdict(const struct question *q, const struct bitmap *mode, bool open, __u8 *verdict,
					 __u8 *alt, __u16 *bit)
{
	__u32 first = decide(q->set, &q->match->bits, mode), second;

	*bit = first & DECISION_BIT;
	*verdict = word_of(first);
	*alt = 0;
	if (open_case(q, first)) {
		*verdict = VERDICT_CONTESTED;
		*alt = VERDICT_DENY;
	} else if (open) {
		*verdict = VERDICT_CONTESTED;
		*alt = first & DECISION_DENY ? VERDICT_ALLOW : VERDICT_DENY;
	} else if (q->match->differ) {
		second = decide(q->set, &q->match->alt, mode);
		if (word_of(second) != *verdict) {
			*verdict = VERDICT_CONTESTED;
			*alt = word_of(second);
		}
	}
}

static __always_inline void allow(struct judgement *j, __u32 set)
{
	__builtin_memset(j, 0, sizeof(*j));
	j->set = set;
	j->verdict = VERDICT_ALLOW;
	j->candidate = VERDICT_ALLOW;
}

/* look_up_port: the port itself, the longest run that it is in, the protocol's
 * other ports, everything else. */
static __always_inline __u32 look_up_port(const struct set *set, __u32 id, __u8 protocol, __be16 port, __u64 word)
{
	union {
		struct port_key key;
		__u64 word;
	} k = { .word = word };
	__u32 *class;

	class = bpf_map_lookup_elem(&ports, &k.key);
	if (class)
		return *class;
	if (set->flags & SET_RANGES) {
		struct range_key range = { .bits = 64, .set = bpf_htonl(id), .protocol = protocol, .port = port };

		class = bpf_map_lookup_elem(&ranges, &range);
		if (class)
			return *class;
	}
	switch (protocol) {
	case IPPROTO_TCP:
		return set->other[OTHER_TCP];
	case IPPROTO_UDP:
		return set->other[OTHER_UDP];
	case IPPROTO_SCTP:
		return set->other[OTHER_SCTP];
	}
	if (k.key.port) {
		k.key.port = 0;
		class = bpf_map_lookup_elem(&ports, &k.key);
		if (class)
			return *class;
	}
	return set->other[OTHER_ALL];
}

static __always_inline __u32 port_class(const struct set *set, __u32 id, __u8 protocol, __be16 port)
{
	__u64 word = (__u64)protocol << 48 | (__u64)bpf_ntohs(port) << 32 | id;
	__u32 at = place(word), now_epoch = epoch;
	struct recent_port *r = bpf_map_lookup_elem(&recent_ports, &at);
	__u32 class;

	if (!r)
		return look_up_port(set, id, protocol, port, word);
	if (r->key == word && r->epoch == now_epoch)
		return r->class;
	r->key = word; /* before the look-up, so that the frame has less to keep */
	r->epoch = now_epoch;
	class = look_up_port(set, id, protocol, port, word);
	r->class = class;
	return class;
}

static __always_inline const struct peer *peer_of(const struct tuple *t)
{
	union { /* before 6.2 a key must be on the stack */
		__u64 word[2];
		struct addr addr;
	} exact = { .word = { t->word[2], t->word[3] } };
	const struct peer *peer = bpf_map_lookup_elem(&peers, &exact.addr);

	if (peer)
		return peer;
	if (t->family == 4) {
		struct cidr4_key key = { .bits = 32, .addr = t->peer.word[3] };

		return bpf_map_lookup_elem(&cidrs4, &key);
	} else {
		struct cidr6_key key = { .bits = 128, .addr = t->peer };

		return bpf_map_lookup_elem(&cidrs6, &key);
	}
}

static __always_inline bool maybe_service(const struct addr *a)
{
	__u32 bit = ((a->word[3] ^ a->word[2] ^ a->word[1]) * 0x9e3779b1U) >> 20;

	return service_filter[bit / 64 & (SERVICE_FILTER_WORDS - 1)] & (1ULL << (bit & 63));
}

/* judge: direction is who opened the connection, not where the packet goes. */
__noinline int judge(const struct tuple *t, const struct endpoint *local, __u32 direction, struct judgement *j)
{
	bool egress = direction == DIRECTION_EGRESS;
	struct match_key key = {};
	struct question q = {};
	const struct peer *peer;
	const struct match *match;
	const struct set *set;
	struct service *service;
	__be16 port;
	__u32 id;

	if (!t || !local || !j)
		return 0;
	set = egress ? &local->egress : &local->ingress;
	id = set->id;
	allow(j, id);
	if (!id)
		return 0;
	if (addr_equal(&t->local, &t->peer))
		return 0;

	q.has_ports = has_ports(t->protocol);
	port = q.has_ports ? (egress ? t->peer_port : t->local_port) : 0;
	key.set = id;
	service = NULL;
	if (egress && maybe_service(&t->peer)) {
		struct service_key sk = { .addr = t->peer, .port = bpf_ntohs(port), .protocol = t->protocol };

		service = bpf_map_lookup_elem(&services, &sk);
	}
	if (service) {
		key.peer = service->class;
		key.ports = SERVICE_PORTS;
		j->service = 1;
	} else {
		peer = peer_of(t);
		if (peer) {
			if (!egress && peer->flags & PEER_LOCAL_NODE)
				return 0;
			key.peer = peer->class;
		}
		key.ports = port_class(set, id, t->protocol, port);
	}

	match = bpf_map_lookup_elem(&matches, &key);
	if (!match && key.peer) {
		key.peer = 0;
		match = bpf_map_lookup_elem(&matches, &key);
	}
	q.set = set;
	q.match = match ? match : &no_match;

	mode_verdict(&q, &set->current, q.match->open & OPEN_CURRENT, &j->verdict, &j->alt, &j->bit);
	if (set->flags & SET_SAME) {
		j->candidate = j->verdict;
		j->candidate_alt = j->alt;
		j->candidate_bit = j->bit;
	} else {
		mode_verdict(&q, &set->candidate, q.match->open & OPEN_CANDIDATE, &j->candidate, &j->candidate_alt,
			     &j->candidate_bit);
	}
	if (set->flags & SET_ENFORCED) {
		__u32 first = decide(set, &q.match->bits, &set->enforced);

		j->drop = first & DECISION_DENY && !open_case(&q, first);
	}
	return 0;
}

/* judge_both: for a packet in mid-stream, whose connection may have been
 * opened by either end. It is denied only if it would be either way. */
__noinline int judge_both(const struct tuple *t, const struct endpoint *local, __u32 guess, struct judgement *j)
{
	struct judgement other = {};

	if (!t || !local || !j)
		return 0;
	judge(t, local, guess, j);
	if (j->verdict == VERDICT_ALLOW && j->candidate == VERDICT_ALLOW && !j->drop)
		return 0;
	judge(t, local, guess == DIRECTION_EGRESS ? DIRECTION_INGRESS : DIRECTION_EGRESS, &other);
	if (other.verdict == VERDICT_ALLOW) {
		j->verdict = VERDICT_ALLOW;
		j->alt = 0;
		j->bit = 0;
	}
	if (other.candidate == VERDICT_ALLOW) {
		j->candidate = VERDICT_ALLOW;
		j->candidate_alt = 0;
		j->candidate_bit = 0;
	}
	j->drop &= other.drop;
	return 0;
}
