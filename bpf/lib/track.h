/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Connections: counting, opening, judging again. A verdict belongs to the
 * connection, so replies share it; it is looked at again by the first packet
 * after the epoch changed.
 */

#include "judge.h"
#include "look.h"

/* Both hooks know these: TCX_NEXT and TCX_DROP are TC_ACT_UNSPEC and TC_ACT_SHOT. */
enum {
	NEXT = -1,
	DROP = 2,
};

/* volume: a large packet counts as those that it will be cut into, or was
 * joined from, each with headers of its own. */
static __always_inline __u64 volume(struct __sk_buff *skb, __u32 headers, __u64 *bytes)
{
	__u32 parts = skb->gso_segs;

	*bytes = skb->len - link_header();
	if (parts <= 1)
		return 1;
	*bytes += (__u64)(parts - 1) * headers;
	return parts;
}

static __always_inline bool closed(const struct conn *conn)
{
	return (conn->tcp_flags[0] & conn->tcp_flags[1] & TCP_FIN) ||
	       ((conn->tcp_flags[0] | conn->tcp_flags[1]) & TCP_RST);
}

/* dropped: counts a packet that the lease drops, and marks it so that
 * drop.bpf.c doesn't report it a second time. */
static __always_inline int dropped(struct __sk_buff *skb, const struct conn *conn, const struct tuple *t, bool sample)
{
	COUNT(enforced_packets, 1);
	if (sample)
		emit(t, conn, EVENT_DROP, bpf_ktime_get_ns(), skb->len);
	skb->mark = MARK_ENFORCED;
	return DROP;
}

static __always_inline bool leased(void)
{
	return bpf_ktime_get_boot_ns() < lease_until;
}

__noinline int enforce(struct __sk_buff *skb, struct conn *conn, const struct tuple *t)
{
	__u64 before;

	if (!conn || !t)
		return NEXT;
	if (!leased())
		return NEXT;
	before = conn->dropped;
	__sync_fetch_and_add(&conn->dropped, 1);
	return dropped(skb, conn, t, !(before & (before + 1)));
}

/* account: what each packet of a known connection costs. */
static __always_inline void account(struct __sk_buff *skb, struct conn *conn, struct lane *lane, __u32 egress, __u8 tcp_flags, __u32 headers)
{
	__u64 bytes, packets = volume(skb, headers, &bytes);

	egress &= 1;
	if (lane) {
		lane->last_ns = coarse();
		if (__sync_fetch_and_add(&lane->sum, packets << LANE_PACKETS | bytes) & LANE_FULL)
			move(conn, lane, egress);
	} else {
		__sync_fetch_and_add(&conn->packets[egress], packets);
		__sync_fetch_and_add(&conn->bytes[egress], bytes);
		conn->last_ns = coarse();
	}
	if (tcp_flags & ~conn->tcp_flags[egress])
		conn->tcp_flags[egress] |= tcp_flags;
}

static __always_inline void judge_as(const struct tuple *t, struct home *h, const struct conn *conn, struct judgement *j)
{
	if (conn->flags & CONN_OPENER_UNKNOWN)
		judge_both(t, h, conn->direction, j);
	else
		judge_settled(t, h, conn->direction, j);
}

/* judge_again: 1 if a verdict changed. Two processors may do it at once:
 * they write the same. */
__noinline int judge_again(const struct tuple *t, struct home *h, struct conn *conn, __u32 now_epoch)
{
	struct judgement j = {};
	bool first, same;

	if (!t || !h || !conn)
		return 0;
	judge_as(t, h, conn, &j);
	first = !conn->epoch;
	same = !first && conn->judgement.verdict == j.verdict && conn->judgement.candidate == j.candidate && conn->drop == j.drop;
	conn->judgement = j;
	conn->drop = j.drop;
	conn->endpoint = h->endpoint;
	conn->epoch = now_epoch;
	if (read_heads && t->protocol == IPPROTO_UDP && dns(t)) {
		conn->await[0] |= AWAIT_DNS;
		conn->await[1] |= AWAIT_DNS;
	}
	if (same)
		return 0;
	conn->judged_ns = bpf_ktime_get_ns();
	return !first;
}

/* number: what host.bpf.c does for a process may be interrupted by a packet that
 * comes in, hence the atomic addition. */
static __always_inline __u64 number(void)
{
	struct counts *c = count();

	return c ? (__sync_fetch_and_add(&c->ids, 1) + 1) << 12 | (bpf_get_smp_processor_id() & 0xfff) : 0;
}

/* late_answer: whether it may answer a question that nobody saw, since it was
 * asked just before the endpoint was watched. Of UDP a packet doesn't tell, but
 * answers come from the lower port. */
static __always_inline bool late_answer(const struct tuple *t)
{
	__u16 local_port = bpf_ntohs(t->local_port), peer_port = bpf_ntohs(t->peer_port);
	struct endpoint *local;

	if (t->protocol != IPPROTO_UDP || (t->egress ? local_port >= peer_port : peer_port >= local_port))
		return false;
	local = endpoint_of(t);
	return local && local->young_s && bpf_ktime_get_ns() < local->young_s * 1000000000ull;
}

static __always_inline void direct(struct conn *conn, const struct tuple *t)
{
	bool by_local = t->egress;

	if (t->opener == OPENER_OTHER)
		by_local = !by_local;
	if (t->opener == OPENER_UNKNOWN || late_answer(t)) {
		/* A guess for people: servers have the lower port. */
		conn->flags |= CONN_OPENER_UNKNOWN;
		by_local = bpf_ntohs(t->local_port) > bpf_ntohs(t->peer_port);
	}
	conn->direction = by_local ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/* reopened: the same addresses and ports again, after the connection ended. It
 * is to be judged and announced. */
__noinline int reopened(struct conn *conn, const struct tuple *t)
{
	__u64 now = bpf_ktime_get_ns();

	if (!t || !conn)
		return 0;
	emit(t, conn, EVENT_CLOSE, now, 0);
	conn->packets[0] = conn->packets[1] = 0;
	conn->bytes[0] = conn->bytes[1] = 0;
	conn->dropped = 0;
	conn->tcp_flags[0] = conn->tcp_flags[1] = 0;
	conn->answer_ns = conn->first_byte_ns = 0;
	conn->flags = 0;
	conn->id = number();
	conn->first_ns = conn->judged_ns = now;
	direct(conn, t);
	expect(conn, t);
	conn->epoch = 0;
	return 1;
}

/* begin: what has to be known to judge. */
static __always_inline void begin(struct conn *conn, const struct tuple *t)
{
	conn->epoch = epoch; /* before the look-ups: a change meanwhile makes it stale */
	direct(conn, t);
}

/* first: the connection as its first packet leaves it. */
static __always_inline void first(struct conn *conn, struct __sk_buff *skb, const struct tuple *t)
{
	__u64 bytes, packets = volume(skb, t->headers, &bytes);

	if (t->egress) {
		conn->packets[1] = packets;
		conn->bytes[1] = bytes;
		conn->tcp_flags[1] = t->tcp_flags;
	} else {
		conn->packets[0] = packets;
		conn->bytes[0] = bytes;
		conn->tcp_flags[0] = t->tcp_flags;
	}
	conn->last_ns = conn->first_ns = conn->judged_ns = bpf_ktime_get_ns();
	conn->id = number();
	expect(conn, t);
}

/* ask: whose the connection is and what its verdicts are, or 0 if nobody's. A
 * guess of who opened it is judged by more than what is remembered. */
static __always_inline bool ask(struct conn *conn, const struct tuple *t)
{
	__u64 what = asked(t, conn->direction);
	struct recent *r = conn->flags & CONN_OPENER_UNKNOWN ? NULL : recent_of(t, what);
	struct home *h;

	if (r && is_recent(r, t, what, conn->epoch)) {
		conn->endpoint = r->endpoint;
		conn->judgement = r->judgement;
	} else {
		h = home_of(t, conn->epoch);
		if (!h)
			return false;
		judge_as(t, h, conn, &conn->judgement);
		conn->endpoint = h->endpoint;
		if (r)
			remember(r, t, what, conn);
	}
	conn->drop = conn->judgement.drop;
	return true;
}

/* KNOWN: what opened returns of a connection that is there already. */
#define KNOWN 1

/* The connection that is being opened: nothing interrupts that, and on the
 * stack there is no room. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct conn);
} fresh SEC(".maps");

/* opened:
 * It inserts without having looked: most often nothing is there, and looking
 * costs half as much as inserting. */
static __always_inline int opened(struct __sk_buff *skb, const struct tuple *t)
{
	struct conn *conn, *there;
	__u32 zero = 0;
	int err;

	conn = bpf_map_lookup_elem(&fresh, &zero);
	if (!conn)
		return NEXT;
	*conn = (struct conn){};
	begin(conn, t);
	if (!ask(conn, t)) {
		COUNT(unwatched, 1);
		return NEXT;
	}
	first(conn, skb, t);
	if (conn->drop && leased())
		conn->dropped = 1; /* what is told of it says so */
	conn->flags |= CONN_ANNOUNCED;
	err = insert(t, conn);
	if (err == -EEXIST)
		return KNOWN;
	if (err) {
		COUNT(table_full, 1);
		COUNT(untracked_packets, conn->packets[0] + conn->packets[1]);
		COUNT(untracked_bytes, conn->bytes[0] + conn->bytes[1]);
	} else if (!announce(t, conn)) {
		there = find(t);
		if (there)
			there->flags &= ~CONN_ANNOUNCED;
	} else if (t->payload && looked_at(conn, t)) {
		there = find(t);
		if (there)
			look(skb, there, t);
	}
	return conn->dropped ? dropped(skb, conn, t, true) : NEXT;
}

/* track: everything but the established packet of the fast path. missed: that
 * one has looked, and there is no such connection. */
__noinline int track(struct __sk_buff *skb, const struct tuple *t, __u32 missed)
{
	struct conn *conn = NULL;
	struct home *h;
	__u32 now_epoch;
	bool syn, anew;
	int action;

	if (!t)
		return NEXT;
	syn = (t->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (!missed && !syn)
		conn = find(t);
	if (conn && conn->epoch == epoch)
		goto known;
	if (!conn && t->opener == OPENER_NONE) {
		if (endpoint_of(t))
			COUNT(unrelated, 1);
		else
			COUNT(unwatched, 1);
		return NEXT;
	}
	if (!conn) {
		action = opened(skb, t);
		if (action != KNOWN)
			return action;
		conn = find(t);
		if (!conn)
			return NEXT; /* it went meanwhile */
	}
	now_epoch = epoch;
	h = home_of(t, now_epoch);
	if (!h) {
		COUNT(unwatched, 1);
		return NEXT;
	}
	anew = syn && closed(conn) && reopened(conn, t);
	if (conn->epoch != now_epoch && judge_again(t, h, conn, now_epoch))
		emit(t, conn, EVENT_VERDICT, conn->judged_ns, 0);
	if (anew && announce(t, conn))
		conn->flags |= CONN_ANNOUNCED;
known:
	if (looked_at(conn, t))
		look(skb, conn, t);
	account(skb, conn, NULL, t->egress, t->tcp_flags, t->headers);
	return conn->drop ? enforce(skb, conn, t) : NEXT;
}
