//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Flows of a pod, seen and judged on the device that carries its address,
 * inside its own network namespace.
 */

#include "lib/track.h"

/* established4, established6: one look-up for a packet of a known connection
 * whose verdict is fresh; -2 if it isn't that simple. */
#define NOT_SIMPLE (-2)

static __always_inline int established(struct __sk_buff *skb, struct conn *conn, __u32 egress, __u8 flags, __u32 headers,
				       bool payload)
{
	__u8 await;

	if (!conn || conn->epoch != epoch || conn->drop)
		return NOT_SIMPLE;
	await = conn->await[egress & 1];
	if (await && (await & AWAIT_ANSWER || payload))
		return NOT_SIMPLE;
	account(skb, conn, egress, flags, headers);
	return NEXT;
}

/* transport: ports, and for TCP its flags and length; false if it is neither
 * TCP nor UDP, or not in the linear part. */
static __always_inline bool transport(void *at, void *end, __u8 protocol, __be16 *source, __be16 *dest, __u8 *flags, __u32 *length)
{
	__u8 *b = at;

	if (protocol == IPPROTO_TCP) {
		if (at + 20 > end)
			return false;
		*flags = b[13];
		*length = (b[12] >> 4) * 4;
	} else {
		if (protocol != IPPROTO_UDP || at + 8 > end)
			return false;
		*flags = 0;
		*length = 8;
	}
	*source = *(__be16 *)at;
	*dest = *(__be16 *)(at + 2);
	return true;
}

static __always_inline int established4(struct __sk_buff *skb, void *at, void *end, __u32 egress)
{
	struct iphdr *ip = at;
	struct conn4_key key;
	__be16 source, dest;
	__u32 length;
	__u8 flags;

	if (at + sizeof(*ip) > end || ip->version_ihl != 0x45 || ip->frag_off & bpf_htons(0x3fff))
		return NOT_SIMPLE;
	if (!transport(at + sizeof(*ip), end, ip->protocol, &source, &dest, &flags, &length) || flags & TCP_SYN)
		return NOT_SIMPLE;
	key.local = egress ? ip->saddr : ip->daddr;
	key.peer = egress ? ip->daddr : ip->saddr;
	key.local_port = egress ? source : dest;
	key.peer_port = egress ? dest : source;
	*(__u32 *)&key.protocol = ip->protocol;
	return established(skb, bpf_map_lookup_elem(&conns4, &key), egress, flags, sizeof(*ip) + length,
			   bpf_ntohs(ip->tot_len) != sizeof(*ip) + length);
}

static __always_inline int established6(struct __sk_buff *skb, void *at, void *end, __u32 egress)
{
	struct ipv6hdr *ip = at;
	struct conn6_key key;
	__be16 source, dest;
	__u32 length;
	__u8 flags;

	if (at + sizeof(*ip) > end)
		return NOT_SIMPLE;
	if (!transport(at + sizeof(*ip), end, ip->nexthdr, &source, &dest, &flags, &length) || flags & TCP_SYN)
		return NOT_SIMPLE;
	__builtin_memcpy(&key.local, egress ? &ip->saddr : &ip->daddr, sizeof(key.local));
	__builtin_memcpy(&key.peer, egress ? &ip->daddr : &ip->saddr, sizeof(key.peer));
	key.local_port = egress ? source : dest;
	key.peer_port = egress ? dest : source;
	*(__u32 *)&key.protocol = ip->nexthdr;
	return established(skb, bpf_map_lookup_elem(&conns6, &key), egress, flags, sizeof(*ip) + length,
			   bpf_ntohs(ip->payload_len) != length);
}

/* plain: what opens most connections, read in place: no options, no fragment.
 * Copying the headers out as parse does takes twice as long. */
static __always_inline bool plain(struct __sk_buff *skb, struct tuple *t)
{
	void *at = (void *)(long)skb->data + link_header(), *end = (void *)(long)skb->data_end;
	__be16 source, dest;
	__u32 length;
	__u8 *l4;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;

		if (at + sizeof(*ip) > end || ip->version_ihl != 0x45 || ip->frag_off & bpf_htons(0x3fff))
			return false;
		t->family = 4;
		t->protocol = ip->protocol;
		t->local = mapped(t->egress ? ip->saddr : ip->daddr);
		t->peer = mapped(t->egress ? ip->daddr : ip->saddr);
		t->payload = bpf_ntohs(ip->tot_len);
		l4 = at + sizeof(*ip);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;

		if (at + sizeof(*ip) > end || (ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return false;
		t->family = 6;
		t->protocol = ip->nexthdr;
		__builtin_memcpy(&t->local, t->egress ? &ip->saddr : &ip->daddr, sizeof(t->local));
		__builtin_memcpy(&t->peer, t->egress ? &ip->daddr : &ip->saddr, sizeof(t->peer));
		t->payload = ip->payload_len ? sizeof(*ip) + bpf_ntohs(ip->payload_len) : 0;
		l4 = at + sizeof(*ip);
	} else {
		return false;
	}
	t->headers = (void *)l4 - at;
	if (!transport(l4, end, t->protocol, &source, &dest, &t->tcp_flags, &length))
		return false;
	t->headers += length;
	if (!t->payload) /* too large for the field */
		t->payload = skb->len - link_header();
	t->payload = t->payload > t->headers ? t->payload - t->headers : 0;
	t->local_port = t->egress ? source : dest;
	t->peer_port = t->egress ? dest : source;
	t->opener = t->protocol == IPPROTO_TCP ? tcp_opener(t->tcp_flags) : OPENER_SENDER;
	return true;
}

__noinline int slow(struct __sk_buff *skb, __u32 egress)
{
	struct tuple t = { .egress = egress };

	if (plain(skb, &t))
		return track(skb, &t);
	t = (struct tuple){ .egress = egress };
	switch (parse(skb, &t)) {
	case PARSED:
		return track(skb, &t);
	case PASS_NOT_IP:
		COUNT(not_ip, 1);
		break;
	case PASS_CUT_SHORT:
		COUNT(cut_short, 1);
		break;
	case PASS_FRAGMENT_LOST:
		COUNT(fragment_lost, 1);
		break;
	case PASS_NEIGHBOUR:
		COUNT(neighbour, 1);
		break;
	case PASS_RELATED:
		if (told(skb, &t))
			COUNT(related, 1);
		else
			COUNT(unrelated, 1);
		break;
	case PASS_UNRELATED:
		COUNT(unrelated, 1);
		break;
	}
	return NEXT;
}

static __always_inline int handle(struct __sk_buff *skb, __u32 egress)
{
	void *at = (void *)(long)skb->data + link_header(), *end = (void *)(long)skb->data_end;
	int action = NOT_SIMPLE;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		action = established4(skb, at, end, egress);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		action = established6(skb, at, end, egress);
	return action == NOT_SIMPLE ? slow(skb, egress) : action;
}

/* Runs for each packet that arrives at the pod, after everything outside let
 * it through. NEXT leaves its fate to others; DROP only under a lease. */
SEC("tc")
int ebpol_ingress(struct __sk_buff *skb)
{
	return handle(skb, 0);
}

/* Runs for each packet that leaves the pod, before anything outside sees it. */
SEC("tc")
int ebpol_egress(struct __sk_buff *skb)
{
	return handle(skb, 1);
}

/* Judges every connection again, so that those that are silent have fresh
 * verdicts too. User space runs it by BPF_PROG_TEST_RUN after each change, then
 * reads the table; it is attached nowhere. (A syscall program would be the
 * natural type, but those may not use tries.) */
static long again(struct tuple *t, struct conn *conn)
{
	struct endpoint *local;
	__u32 now_epoch = epoch;

	if (conn->epoch == now_epoch)
		return 0;
	local = bpf_map_lookup_elem(&endpoints, &t->local);
	if (local)
		judge_again(t, local, conn, now_epoch);
	return 0;
}

static long again4(void *map, struct conn4_key *k, struct conn *conn, void *ctx)
{
	struct tuple t = {
		.local = mapped(k->local), .peer = mapped(k->peer), .local_port = k->local_port,
		.peer_port = k->peer_port, .protocol = k->protocol, .family = 4,
	};

	return again(&t, conn);
}

static long again6(void *map, struct conn6_key *k, struct conn *conn, void *ctx)
{
	struct tuple t = {
		.local = k->local, .peer = k->peer, .local_port = k->local_port,
		.peer_port = k->peer_port, .protocol = k->protocol, .family = 6,
	};

	return again(&t, conn);
}

SEC("tc")
int ebpol_judge_again(struct __sk_buff *skb)
{
	bpf_for_each_map_elem(&conns4, again4, NULL, 0);
	bpf_for_each_map_elem(&conns6, again6, NULL, 0);
	return 0;
}

/* Names these types in the object's BTF, from which Go's are made. */
const struct {
	enum event_kind a;
	enum conn_flags b;
	enum set_flags c;
	struct event d;
	struct head e;
} *for_go __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
