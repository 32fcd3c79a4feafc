/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What goes to user space through the ring: connections, and heads of payloads.
 */

#include "maps.h"
#include "packet.h"
#include "wake.h"

/* wake: a reader that doesn't sleep is woken early by an event that makes the
 * ring fuller than wake_above. */
static __always_inline __u64 wake(const struct conn *conn)
{
	__u64 above, how = rouse();

	if (how != BPF_RB_NO_WAKEUP)
		return how;
	if (conn->id >> 12 & 7) /* asking is not free either */
		return BPF_RB_NO_WAKEUP;
	above = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - wake_above;
	return above < 16 * sizeof(struct event) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* announce: a connection that is new, as its first packet leaves it; 0 if the
 * ring is full. */
static __always_inline int announce(const struct tuple *t, const struct conn *conn)
{
	struct opening *o = bpf_ringbuf_reserve(&events, sizeof(*o), 0);

	if (!o) {
		COUNT(ring_full, 1);
		return 0;
	}
	o->time_ns = conn->first_ns;
	o->kind = EVENT_NEW;
	o->bytes = t->egress ? conn->bytes[1] : conn->bytes[0];
	o->local = t->local;
	o->peer = t->peer;
	o->local_port = t->local_port;
	o->peer_port = t->peer_port;
	o->protocol = t->protocol;
	o->first = t->egress | (conn->dropped ? 2 : 0);
	o->tcp_flags = t->tcp_flags;
	o->judgement = conn->judgement;
	o->conn = conn->id;
	o->endpoint = conn->endpoint;
	o->flags = conn->flags;
	o->direction = conn->direction;
	o->packets = t->egress ? conn->packets[1] : conn->packets[0];
	bpf_ringbuf_submit(o, wake(conn));
	return 1;
}

/* emit: the connection as it is; 0 if the ring is full. */
__noinline int emit(const struct tuple *t, const struct conn *conn, __u32 kind, __u64 now, __u32 length)
{
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
	bpf_ringbuf_submit(e, wake(conn));
	return 1;
}

/* head_allowed: so many a second on each CPU, so that whoever asks for a million
 * names a second doesn't fill the ring. */
static __always_inline bool head_allowed(__u64 now)
{
	struct counts *c = count();

	if (!c)
		return false;
	if (now - c->heads_since >= 1000000000ULL) {
		c->heads_since = now;
		c->heads_taken = 0;
	}
	if (c->heads_taken >= heads_per_second) {
		c->heads_left_out++;
		return false;
	}
	c->heads_taken++;
	return true;
}

static __always_inline void fill_head(struct head *h, const struct tuple *t, const struct conn *conn, __u64 now, __u32 length)
{
	h->time_ns = now;
	h->kind = EVENT_HEAD;
	h->length = length;
	h->local = t->local;
	h->peer = t->peer;
	h->local_port = t->local_port;
	h->peer_port = t->peer_port;
	h->protocol = t->protocol;
	h->family = t->family;
	h->direction = t->egress ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	h->opened = conn->direction;
	h->conn = conn->id;
	h->endpoint = conn->endpoint;
	h->payload = t->payload;
}

/* further: of how many packets with payload more is read, at most, if a head
 * is cut. Bounds what is read of a connection, whatever it carries. */
#define FURTHER (3 * AWAIT_MORE)

/* frames: whether HTTP/2 frames from the offset on hold no HEADERS yet. */
static __always_inline bool frames(const __u8 *b, __u32 size, __u32 at, __u32 length)
{
	for (int i = 0; i < 4; i++) {
		if (at + 9 > length)
			return true;
		if (b[(at + 3) & (size - 1)] == 1)
			return false;
		at += 9 + (b[at & (size - 1)] << 16 | b[(at + 1) & (size - 1)] << 8 | b[(at + 2) & (size - 1)]);
	}
	return true;
}

/* lines: whether the empty line hasn't come that ends a head of HTTP/1. */
static __always_inline bool lines(const __u8 *b, __u32 size, __u32 length)
{
	__u32 last = 0;

	for (__u32 i = 0; i < size && i < length; i++) {
		last = last << 8 | b[i];
		if (last == 0x0d0a0d0a)
			return false;
	}
	return true;
}

/* cut: what else is awaited after this head, of which length bytes are at b;
 * 0: nothing, which is so for all that doesn't look like a request. */
static __always_inline __u32 cut(const __u8 *b, __u32 size, __u32 length, __u32 payload, __u32 await)
{
	__u32 left = (await & AWAIT_MORE_MASK) - AWAIT_MORE, kind = await & (AWAIT_FRAMES | AWAIT_LINES), at = 0;

	if (await & AWAIT_HEAD) {
		left = FURTHER;
		if (length >= 24 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I' && b[3] == ' ') {
			kind = AWAIT_FRAMES;
			at = 24;
		} else if (b[0] >= 'A' && b[0] <= 'Z') {
			kind = AWAIT_LINES;
		} else if (b[0] == 0x16 && length >= 5) { /* a record of TLS says how long it is: two packets at most */
			return (b[3] << 8 | b[4]) + 5 > payload ? AWAIT_MORE : 0;
		} else {
			return 0;
		}
	}
	if (!left)
		return 0;
	if (kind == AWAIT_FRAMES)
		return frames(b, size, at, length) ? left | kind : 0;
	if (kind == AWAIT_LINES)
		return lines(b, size, length) ? left | kind : 0;
	return left;
}

/* read_head: the start of the packet's payload goes into the ring. The answer
 * is what else is awaited. */
#define READ_HEAD(size)                                                                              \
	do {                                                                                         \
		h = bpf_ringbuf_reserve(&events, sizeof(*h) + (size), 0);                            \
		if (!h) {                                                                            \
			COUNT(ring_full, 1);                                                         \
			return 0;                                                                    \
		}                                                                                    \
		length = (length - 1) & ((size) - 1); /* changes nothing, but tells 6.1 of the bounds */ \
		asm volatile("" : "+r"(length));                                                     \
		length++;                                                                            \
		fill_head(h, t, conn, now, length);                                                  \
		if (bpf_skb_load_bytes(skb, at, h + 1, length)) {                                    \
			bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);                                    \
			return 0;                                                                    \
		}                                                                                    \
		if (asks && await & (AWAIT_HEAD | AWAIT_MORE_MASK) && t->protocol == IPPROTO_TCP)    \
			left = cut((const __u8 *)(h + 1), (size), length, t->payload, await);        \
		bpf_ringbuf_submit(h, rouse());                                                      \
	} while (0)

__noinline int read_head(struct __sk_buff *skb, const struct tuple *t, const struct conn *conn, __u64 now, __u32 await)
{
	bool asks = t && conn && t->egress == (conn->direction == DIRECTION_EGRESS);
	__u32 at, length, left = 0;
	struct head *h;

	if (!t || !conn || !head_allowed(now))
		return 0;
	at = link_header() + t->headers;
	length = t->payload;
	if (length > HEAD_LONG)
		length = HEAD_LONG;
	if (length < 1)
		return 0;
	if (length <= HEAD_SHORT)
		READ_HEAD(HEAD_SHORT);
	else
		READ_HEAD(HEAD_LONG);
	return left;
}
