/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Connections: counting, opening, judging again. A verdict belongs to the
 * connection, so replies share it; it is looked at again by the first packet
 * after the epoch changed.
 */

#include "events.h"
#include "judge.h"

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

/* dns: names are asked for here. */
static __always_inline bool dns(const struct tuple *t)
{
	return t->local_port == bpf_htons(53) || t->peer_port == bpf_htons(53);
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
	if (read_heads && t->protocol == IPPROTO_UDP && dns(t)) {
		conn->await[0] |= AWAIT_DNS;
		conn->await[1] |= AWAIT_DNS;
	}
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

/* expect: what the packets of a connection that begins are looked at for. A
 * head is that of the opener's first payload; over TCP that of the first answer
 * from port 53 too, over UDP of all that goes there and comes from there. */
static __always_inline void expect(struct conn *conn, const struct tuple *t)
{
	bool heads = read_heads;
	__u8 opener = 0, other = 0;

	if (t->opener == OPENER_SENDER)
		other = AWAIT_ANSWER | AWAIT_BYTE;
	if (heads && t->protocol == IPPROTO_TCP) {
		if (t->opener != OPENER_UNKNOWN)
			opener = AWAIT_HEAD;
		if (opener && dns(t))
			other |= AWAIT_HEAD;
	}
	if (heads && t->protocol == IPPROTO_UDP && dns(t)) {
		opener |= AWAIT_DNS;
		other |= AWAIT_DNS;
	}
	if (conn->direction == DIRECTION_EGRESS) {
		conn->await[0] = other;
		conn->await[1] = opener;
	} else {
		conn->await[0] = opener;
		conn->await[1] = other;
	}
}

/* look: at a packet that something is awaited of. */
__noinline int look(struct __sk_buff *skb, struct conn *conn, const struct tuple *t)
{
	__u8 await, left;
	__u64 now;

	if (!conn || !t)
		return 0;
	left = await = t->egress ? conn->await[1] : conn->await[0];
	now = bpf_ktime_get_ns();
	if (await & AWAIT_ANSWER) {
		conn->answer_ns = now - conn->first_ns;
		left &= ~AWAIT_ANSWER;
	}
	if (t->payload) {
		if (await & AWAIT_BYTE)
			conn->first_byte_ns = now - conn->first_ns;
		left &= ~(AWAIT_BYTE | AWAIT_HEAD);
		if (await & (AWAIT_HEAD | AWAIT_DNS) && read_heads)
			read_head(skb, t, conn, now);
	}
	if (t->egress)
		conn->await[1] = left;
	else
		conn->await[0] = left;
	return 0;
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
	conn->answer_ns = conn->first_byte_ns = 0;
	conn->flags = 0;
	conn->id = number();
	conn->first_ns = conn->judged_ns = now;
	direct(conn, t);
	expect(conn, t);
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
	expect(conn, t);
}

static __always_inline bool looked_at(const struct conn *conn, const struct tuple *t)
{
	return t->egress ? conn->await[1] : conn->await[0];
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
	} else if (read_heads && t->payload && looked_at(&conn, t)) {
		there = find(t);
		if (there)
			look(skb, there, t);
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
	if (looked_at(conn, t))
		look(skb, conn, t);
	account(skb, conn, t->egress, t->tcp_flags, t->headers);
	return conn->drop ? enforce(skb, conn, t) : NEXT;
}

/* told: t is the connection that it is about, its headers end where the
 * error's begins. */
__noinline int told(struct __sk_buff *skb, const struct tuple *t)
{
	struct icmp_error e = {}, *last;
	struct conn *conn;
	__u8 h[8];
	__u64 id;

	if (!t)
		return 0;
	conn = find(t);
	if (!conn)
		return 0;
	if (bpf_skb_load_bytes(skb, link_header() + t->headers, h, sizeof(h)))
		return 0;
	e.type = h[0];
	e.code = h[1];
	e.family = t->family;
	if (t->family == 4) {
		e.from.word[2] = bpf_htonl(0xffff);
		bpf_skb_load_bytes(skb, network_header(skb) + 12, &e.from.word[3], 4);
		if (h[0] == 3 && h[1] == 4)
			e.mtu = h[6] << 8 | h[7];
	} else {
		bpf_skb_load_bytes(skb, network_header(skb) + 8, &e.from, 16);
		if (h[0] == 2)
			e.mtu = h[4] << 24 | h[5] << 16 | h[6] << 8 | h[7];
	}
	id = conn->id;
	last = bpf_map_lookup_elem(&icmp_errors, &id);
	if (last && last->type == e.type && last->code == e.code && last->mtu == e.mtu && addr_equal(&last->from, &e.from))
		return 1;
	bpf_map_update_elem(&icmp_errors, &id, &e, BPF_ANY);
	conn->flags |= CONN_ICMP_ERROR;
	emit(t, conn, EVENT_ICMP, bpf_ktime_get_ns(), 0);
	return 1;
}
