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

#include "decide.h"
#include "recent.h"

static __always_inline struct endpoint *endpoint_of(const struct tuple *t)
{
	union {
		__u64 word[2];
		struct addr addr;
	} key = { .word = { t->word[0], t->word[1] } };

	return bpf_map_lookup_elem(&endpoints, &key.addr);
}

/* settle: whose the address is now; false if it is nobody's. */
__noinline int settle(const struct tuple *t, struct home *h, __u32 now_epoch)
{
	const struct endpoint *local;

	if (!t || !h)
		return false;
	local = endpoint_of(t);
	if (!local)
		return false;
	h->local[0] = t->word[0];
	h->local[1] = t->word[1];
	h->epoch = now_epoch;
	h->endpoint = local->id;
	h->ingress = local->ingress.id;
	h->egress = local->egress.id;
	return true;
}

/* home_of: NULL if the address is nobody's. now_epoch was read before, so that
 * a change meanwhile makes void what is found. */
static __always_inline struct home *home_of(const struct tuple *t, __u32 now_epoch)
{
	__u32 at = place(t->word[0] ^ t->word[1]);
	struct home *h = bpf_map_lookup_elem(&homes, &at);

	if (!h)
		return NULL;
	if (h->epoch == now_epoch && h->local[1] == t->word[1] && h->local[0] == t->word[0])
		return h;
	return settle(t, h, now_epoch) ? h : NULL;
}

/* set_of: NULL if another one judges the address by now. */
static __always_inline const struct set *set_of(const struct tuple *t, __u32 id, bool egress)
{
	const struct endpoint *local = endpoint_of(t);
	const struct set *set;

	if (!local)
		return NULL;
	set = egress ? &local->egress : &local->ingress;
	return set->id == id ? set : NULL;
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

#define CHANGED 0xffffffffU /* no class of ports */

/* find_port: the class of what look_up_port's word says. */
__noinline __u32 find_port(const struct tuple *t, __u64 word, __u32 egress)
{
	const struct set *set;
	__u32 id = word;

	if (!t)
		return CHANGED;
	set = set_of(t, id, egress);
	return set ? look_up_port(set, id, t->protocol, bpf_htons(word >> 32), word) : CHANGED;
}

static __always_inline __u32 port_class(const struct tuple *t, const struct home *h, __u32 id, __be16 port, bool egress)
{
	__u64 word = (__u64)t->protocol << 48 | (__u64)bpf_ntohs(port) << 32 | id;
	__u32 at = place(word), class;
	struct recent_port *r = bpf_map_lookup_elem(&recent_ports, &at);

	if (r && r->key == word && r->epoch == h->epoch)
		return r->class;
	class = find_port(t, word, egress);
	if (r && h->epoch && class != CHANGED) {
		r->key = word;
		r->epoch = h->epoch;
		r->class = class;
	}
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

/* weigh: by the rules that match; 0 if another set judges the address by now. */
__noinline int weigh(const struct tuple *t, const struct match_key *what, __u32 egress, struct judgement *j)
{
	struct question q = {};
	const struct match *match;
	struct match_key key;
	const struct set *set;

	if (!t || !what || !j)
		return 0;
	key = *what;
	set = set_of(t, key.set, egress);
	if (!set)
		return 0;
	match = bpf_map_lookup_elem(&matches, &key);
	if (!match && key.peer) {
		key.peer = 0;
		match = bpf_map_lookup_elem(&matches, &key);
	}
	q.set = set;
	q.match = match ? match : &no_match;
	q.has_ports = has_ports(t->protocol);

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
	return 1;
}

/* judge: direction is who opened the connection, not where the packet goes. 0
 * if what the home says isn't so by now: it wants to be settled anew. */
__noinline int judge(const struct tuple *t, const struct home *h, __u32 direction, struct judgement *j)
{
	bool egress = direction == DIRECTION_EGRESS, with_ports;
	struct service *service = NULL;
	struct match_key key = {};
	struct recent_match *r;
	const struct peer *peer;
	__u32 at, ports;
	__be16 port;

	if (!t || !h || !j)
		return 1;
	key.set = egress ? h->egress : h->ingress;
	allow(j, key.set);
	if (!key.set || addr_equal(&t->local, &t->peer))
		return 1;

	with_ports = has_ports(t->protocol);
	port = with_ports ? (egress ? t->peer_port : t->local_port) : 0;
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
				return 1;
			key.peer = peer->class;
		}
		key.ports = port_class(t, h, key.set, port, egress);
		if (key.ports == CHANGED)
			return 0;
	}

	ports = key.ports | (__u32)with_ports << 16;
	at = place_of_match(key.set, key.peer, ports);
	r = bpf_map_lookup_elem(&recent_matches, &at);
	if (r && r->set == key.set && r->peer == key.peer && r->ports == ports && r->epoch == h->epoch) {
		*j = r->judgement;
		return 1;
	}
	if (!weigh(t, &key, egress, j))
		return 0;
	if (r && h->epoch) {
		r->set = key.set;
		r->peer = key.peer;
		r->ports = ports;
		r->epoch = h->epoch;
		r->judgement = *j;
	}
	return 1;
}

static __always_inline void judge_settled(const struct tuple *t, struct home *h, __u32 direction, struct judgement *j)
{
	if (!judge(t, h, direction, j) && settle(t, h, h->epoch))
		judge(t, h, direction, j);
}

/* judge_both: for a packet in mid-stream, whose connection may have been
 * opened by either end. It is denied only if it would be either way. */
__noinline int judge_both(const struct tuple *t, struct home *h, __u32 guess, struct judgement *j)
{
	struct judgement other = {};

	if (!t || !h || !j)
		return 0;
	judge_settled(t, h, guess, j);
	if (j->verdict == VERDICT_ALLOW && j->candidate == VERDICT_ALLOW && !j->drop)
		return 0;
	judge_settled(t, h, guess == DIRECTION_EGRESS ? DIRECTION_INGRESS : DIRECTION_EGRESS, &other);
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
