/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What packets are looked at for besides their connection's verdict: how long
 * an answer took, heads of payloads, errors.
 */

#include "conns.h"
#include "events.h"

/* dns: names are asked for here. */
static __always_inline bool dns(const struct tuple *t)
{
	return t->local_port == bpf_htons(53) || t->peer_port == bpf_htons(53);
}

/* expect: what the packets of a connection that begins are looked at for. A
 * head is that of the opener's first payload, and of the next ones while the
 * first request's isn't whole; over TCP that of the first answer
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
		left &= AWAIT_DNS | AWAIT_ANSWER;
		if (await & (AWAIT_HEAD | AWAIT_DNS | AWAIT_MORE_MASK) && read_heads)
			left |= read_head(skb, t, conn, now, await) & 0xff;
	}
	if (t->egress)
		conn->await[1] = left;
	else
		conn->await[0] = left;
	return 0;
}

static __always_inline bool looked_at(const struct conn *conn, const struct tuple *t)
{
	return t->egress ? conn->await[1] : conn->await[0];
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
