/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Connections: counting, opening, judging again. A verdict belongs to the
 * connection, so replies share it; it is looked at again by the first packet
 * after the epoch changed.
 */

#include "judge.h"
#include "packet.h"

/* Both hooks know these: TCX_NEXT and TCX_DROP are TC_ACT_UNSPEC and TC_ACT_SHOT. */
enum {
	NEXT = -1,
	DROP = 2,
};

static __always_inline void key4(const struct tuple *t, struct conn4_key *k)
{
	*k = (struct conn4_key){
		.local = t->local.word[3], .peer = t->peer.word[3],
		.local_port = t->local_port, .peer_port = t->peer_port, .protocol = t->protocol,
	};
}

static __always_inline void key6(const struct tuple *t, struct conn6_key *k)
{
	*k = (struct conn6_key){
		.local = t->local, .peer = t->peer,
		.local_port = t->local_port, .peer_port = t->peer_port, .protocol = t->protocol,
	};
}

/* find and insert are calls of their own to keep their keys off the deepest
 * stack: all frames together may take 512 bytes. */
static __noinline struct conn *find(const struct tuple *t)
{
	if (t->family == 4) {
		struct conn4_key k;

		key4(t, &k);
		return bpf_map_lookup_elem(&conns4, &k);
	} else {
		struct conn6_key k;

		key6(t, &k);
		return bpf_map_lookup_elem(&conns6, &k);
	}
}

static __noinline int insert(const struct tuple *t, const struct conn *conn)
{
	if (t->family == 4) {
		struct conn4_key k;

		key4(t, &k);
		return bpf_map_update_elem(&conns4, &k, conn, BPF_NOEXIST);
	} else {
		struct conn6_key k;

		key6(t, &k);
		return bpf_map_update_elem(&conns6, &k, conn, BPF_NOEXIST);
	}
}

/* emit: 0 if the ring is full. User space polls; it is woken early by an
 * event that makes the ring fuller than wake_above, and by few others: waking
 * costs 6 us, twenty times as much as everything else that a new flow does. */
__noinline int emit(const struct tuple *t, const struct conn *conn, __u32 kind, __u64 now, __u32 length)
{
	__u64 flags = BPF_RB_NO_WAKEUP, above;
	struct event *e;

	if (!t || !conn)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		COUNT(ring_full, 1);
		return 0;
	}
	e->time_ns = now;
	e->kind = kind;
	e->length = length;
	e->local = t->local;
	e->peer = t->peer;
	e->local_port = t->local_port;
	e->peer_port = t->peer_port;
	e->protocol = t->protocol;
	e->family = t->family;
	e->direction = t->egress ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	e->pad = 0;
	e->conn = *conn;
	if (!(conn->id >> 12 & 7)) { /* asking is not free either */
		above = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - wake_above;
		if (above < 16 * sizeof(*e))
			flags = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(e, flags);
	return 1;
}

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

__noinline int enforce(struct __sk_buff *skb, struct conn *conn, const struct tuple *t)
{
	__u64 before;

	if (!conn || !t)
		return NEXT;
	if (bpf_ktime_get_boot_ns() >= lease_until)
		return NEXT;
	before = conn->dropped;
	__sync_fetch_and_add(&conn->dropped, 1);
	return dropped(skb, conn, t, !(before & (before + 1)));
}

/* account: what each packet of a known connection costs. */
static __always_inline void account(struct __sk_buff *skb, struct conn *conn, __u32 egress, __u8 tcp_flags, __u32 headers)
{
	__u64 bytes, packets = volume(skb, headers, &bytes);

	egress &= 1;
	__sync_fetch_and_add(&conn->packets[egress], packets);
	__sync_fetch_and_add(&conn->bytes[egress], bytes);
	conn->last_ns = bpf_ktime_get_coarse_ns();
	if (tcp_flags & ~conn->tcp_flags[egress])
		conn->tcp_flags[egress] |= tcp_flags;
}

static __always_inline void judge_as(const struct tuple *t, const struct endpoint *local, const struct conn *conn, struct judgement *j)
{
	if (conn->flags & CONN_OPENER_UNKNOWN)
		judge_both(t, local, conn->direction, j);
	else
		judge(t, local, conn->direction, j);
}

/* judge_again: 1 if a verdict changed. Two processors may do it at once:
 * they write the same. */
__noinline int judge_again(const struct tuple *t, const struct endpoint *local, struct conn *conn, __u32 now_epoch)
{
	struct judgement j = {};
	bool first, same;

	if (!t || !local || !conn)
		return 0;
	judge_as(t, local, conn, &j);
	first = !conn->epoch;
	same = !first && conn->judgement.verdict == j.verdict && conn->judgement.candidate == j.candidate && conn->drop == j.drop;
	conn->judgement = j;
	conn->drop = j.drop;
	conn->endpoint = local->id;
	conn->epoch = now_epoch;
	if (same)
		return 0;
	conn->judged_ns = bpf_ktime_get_ns();
	return !first;
}

static __always_inline __u64 number(void)
{
	struct counts *c = count();

	return c ? ++c->ids << 12 | (bpf_get_smp_processor_id() & 0xfff) : 0;
}

static __always_inline void direct(struct conn *conn, const struct tuple *t)
{
	bool by_local = t->egress;

	if (t->opener == OPENER_OTHER)
		by_local = !by_local;
	if (t->opener == OPENER_UNKNOWN) {
		/* A guess for people: servers have the lower port. */
		conn->flags |= CONN_OPENER_UNKNOWN;
		by_local = bpf_ntohs(t->local_port) > bpf_ntohs(t->peer_port);
	}
	conn->direction = by_local ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/* reopened: the same addresses and ports again, after the connection ended. */
__noinline int reopened(struct conn *conn, const struct tuple *t, const struct endpoint *local)
{
	__u64 now = bpf_ktime_get_ns();

	if (!t || !local || !conn)
		return 0;
	emit(t, conn, EVENT_CLOSE, now, 0);
	conn->packets[0] = conn->packets[1] = 0;
	conn->bytes[0] = conn->bytes[1] = 0;
	conn->dropped = 0;
	conn->tcp_flags[0] = conn->tcp_flags[1] = 0;
	conn->flags = 0;
	conn->id = number();
	conn->first_ns = conn->judged_ns = now;
	direct(conn, t);
	judge_again(t, local, conn, epoch);
	if (emit(t, conn, EVENT_NEW, now, 0))
		conn->flags |= CONN_ANNOUNCED;
	return 0;
}

/* first: the connection as its first packet leaves it, unjudged. */
static __always_inline void first(struct conn *conn, struct __sk_buff *skb, const struct tuple *t, const struct endpoint *local)
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
	conn->endpoint = local->id;
	conn->id = number();
	conn->epoch = epoch; /* before the look-ups: a change meanwhile makes it stale */
	direct(conn, t);
}

/* opened: its frame is part of the deepest stack, so it keeps nothing twice. */
__noinline int opened(struct __sk_buff *skb, const struct tuple *t, const struct endpoint *local)
{
	struct conn conn = {}, *there;

	if (!t || !local)
		return NEXT;
	first(&conn, skb, t, local);
	judge_as(t, local, &conn, &conn.judgement);
	conn.drop = conn.judgement.drop;
	if (emit(t, &conn, EVENT_NEW, conn.first_ns, 0))
		conn.flags |= CONN_ANNOUNCED;
	if (insert(t, &conn)) {
		there = find(t);
		if (there) { /* another processor was first */
			account(skb, there, t->egress, t->tcp_flags, t->headers);
			return there->drop ? enforce(skb, there, t) : NEXT;
		}
		COUNT(table_full, 1);
		COUNT(untracked_packets, conn.packets[0] + conn.packets[1]);
		COUNT(untracked_bytes, conn.bytes[0] + conn.bytes[1]);
	}
	return conn.drop ? enforce(skb, &conn, t) : NEXT;
}

/* track: everything but the established packet of the fast path. */
static __always_inline int track(struct __sk_buff *skb, const struct tuple *t)
{
	struct endpoint *local;
	struct conn *conn;
	__u32 now_epoch;

	if (!t)
		return NEXT;
	conn = find(t);
	if (conn && conn->epoch == epoch && (t->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		goto known;
	local = bpf_map_lookup_elem(&endpoints, &t->local);
	if (!local) {
		COUNT(unwatched, 1);
		return NEXT;
	}
	if (!conn) {
		if (t->opener == OPENER_NONE) {
			COUNT(unrelated, 1);
			return NEXT;
		}
		return opened(skb, t, local);
	}
	if ((t->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && closed(conn))
		reopened(conn, t, local);
	now_epoch = epoch;
	if (conn->epoch != now_epoch && judge_again(t, local, conn, now_epoch))
		emit(t, conn, EVENT_VERDICT, conn->judged_ns, 0);
known:
	account(skb, conn, t->egress, t->tcp_flags, t->headers);
	return conn->drop ? enforce(skb, conn, t) : NEXT;
}
