//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Flows of a pod, seen and judged on the device that carries its address,
 * inside its own network namespace.
 */

#include "lib/track.h"

/* What the header of a packet says that has no options and is no fragment:
 * read in place and once, because copying headers out as parse does takes
 * twice as long. */
struct plain {
	__u64 source[2]; /* IPv4: both addresses in the first word */
	__u64 dest[2];
	__u32 ports; /* source first */
	__u32 headers;
	__u32 payload;
	__u8 protocol;
	__u8 flags; /* TCP */
};

/* transport: false if it is neither TCP nor UDP, or not in the linear part. */
static __always_inline bool transport(void *at, void *end, struct plain *p)
{
	__u8 *b = at;

	if (p->protocol == IPPROTO_TCP) {
		if (at + 20 > end)
			return false;
		p->flags = b[13];
		p->headers += (b[12] >> 4) * 4;
	} else {
		if (p->protocol != IPPROTO_UDP || at + 8 > end)
			return false;
		p->flags = 0;
		p->headers += 8;
	}
	p->ports = *(__u32 *)at;
	return true;
}

static __always_inline bool plain4(void *at, void *end, struct plain *p)
{
	struct iphdr *ip = at;

	if (at + sizeof(*ip) > end || ip->version_ihl != 0x45 || ip->frag_off & bpf_htons(0x3fff))
		return false;
	p->protocol = ip->protocol;
	p->headers = sizeof(*ip);
	if (!transport(at + sizeof(*ip), end, p))
		return false;
	p->source[0] = *(__u64 *)&ip->saddr; /* and daddr */
	p->payload = ip->tot_len == 0 ? 0xffff : bpf_ntohs(ip->tot_len) - p->headers;
	return true;
}

static __always_inline bool plain6(void *at, void *end, struct plain *p)
{
	struct ipv6hdr *ip = at;

	if (at + sizeof(*ip) > end || (ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return false;
	p->protocol = ip->nexthdr;
	p->headers = sizeof(*ip);
	if (!transport(at + sizeof(*ip), end, p))
		return false;
	__builtin_memcpy(p->source, &ip->saddr, sizeof(p->source));
	__builtin_memcpy(p->dest, &ip->daddr, sizeof(p->dest));
	p->payload = ip->payload_len == 0 ? 0xffff : bpf_ntohs(ip->payload_len) + sizeof(*ip) - p->headers;
	return true;
}

/* established: one look-up for a packet of a known connection whose verdict is
 * fresh. If it isn't that simple: MISSED if there is no such connection,
 * NOT_SIMPLE if something else has to be seen to first. */
#define NOT_SIMPLE (-2)
#define MISSED (-3)

static __always_inline int established(struct __sk_buff *skb, struct conn *conn, struct lane *lane, __u32 egress, const struct plain *p)
{
	__u8 await;

	if (!conn)
		return MISSED;
	if (conn->epoch != epoch || conn->drop)
		return NOT_SIMPLE;
	await = conn->await[egress & 1];
	if (await && (await & AWAIT_ANSWER || p->payload))
		return NOT_SIMPLE;
	account(skb, conn, lane, egress, p->flags, p->headers);
	return NEXT;
}

static __always_inline int opens(struct __sk_buff *skb, struct tuple *t, const struct plain *p, __u32 egress, __u32 missed)
{
	t->egress = egress;
	t->pad = 0;
	t->tcp_flags = p->flags;
	t->headers = p->headers;
	t->payload = p->payload == 0xffff ? skb->len - link_header() - p->headers : p->payload; /* too large for the field */
	t->opener = p->protocol == IPPROTO_TCP ? tcp_opener(p->flags) : OPENER_SENDER;
	return track(skb, t, missed);
}

/* The key is put together where the tuple will be: the deepest stack has no
 * room for both. */
static __always_inline int handle4(struct __sk_buff *skb, struct tuple *t, void *at, void *end, __u32 egress)
{
	union key4 *k = (union key4 *)t;
	int action = NOT_SIMPLE;
	struct plain p;
	struct lane *lane;
	struct conn *conn;
	__u64 addrs, ports;

	if (!plain4(at, end, &p))
		return NOT_SIMPLE;
	addrs = egress ? p.source[0] : p.source[0] << 32 | p.source[0] >> 32;
	ports = (__u64)p.protocol << 32 | local_first(p.ports, egress);
	k->word[0] = addrs;
	k->word[1] = ports;
	if (!(p.flags & TCP_SYN)) {
		conn = find4(k, (__u32 *)&t->word[2], egress, &lane);
		action = established(skb, conn, lane, egress, &p);
	}
	if (action > NOT_SIMPLE)
		return action;
	t->word[0] = t->word[2] = 0;
	t->word[1] = addrs << 32 | bpf_htonl(0xffff);
	t->word[3] = (addrs >> 32) << 32 | bpf_htonl(0xffff);
	t->word[4] = ports;
	t->family = 4;
	return opens(skb, t, &p, egress, action == MISSED);
}

static __always_inline int handle6(struct __sk_buff *skb, struct tuple *t, void *at, void *end, __u32 egress)
{
	int action = NOT_SIMPLE;
	struct plain p;

	if (!plain6(at, end, &p))
		return NOT_SIMPLE;
	t->word[0] = egress ? p.source[0] : p.dest[0];
	t->word[1] = egress ? p.source[1] : p.dest[1];
	t->word[2] = egress ? p.dest[0] : p.source[0];
	t->word[3] = egress ? p.dest[1] : p.source[1];
	t->word[4] = (__u64)p.protocol << 32 | local_first(p.ports, egress);
	if (!(p.flags & TCP_SYN))
		action = established(skb, bpf_map_lookup_elem(&conns6, &t->key), NULL, egress, &p);
	if (action > NOT_SIMPLE)
		return action;
	t->family = 6;
	return opens(skb, t, &p, egress, action == MISSED);
}

/* odd: packets that aren't plain. */
__noinline int odd(struct __sk_buff *skb, __u32 egress)
{
	struct tuple t = { .egress = egress };

	switch (parse(skb, &t)) {
	case PARSED:
		return track(skb, &t, 0);
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
	struct tuple t;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		action = handle4(skb, &t, at, end, egress);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		action = handle6(skb, &t, at, end, egress);
	return action == NOT_SIMPLE ? odd(skb, egress) : action;
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

/* stale: a connection to be judged again. */
struct stale {
	struct conn6_key key; /* IPv4 as ::ffff:0:0/96 */
	__u32 family;         /* 4 or 6; 0: no more */
};

/* Those that one run judges. For as long as a run takes nothing else receives
 * packets on its processor, so they are few: some 0.1 ms. All connections of a
 * full table took 40. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct stale);
} again SEC(".maps");

static long judge_stale(void *map, __u32 *at, struct stale *s, void *ctx)
{
	struct tuple t = { .key = s->key };
	__u32 now_epoch = epoch;
	struct home h = {};
	struct conn *conn;

	if (!s->family)
		return 1;
	t.family = s->family;
	conn = find(&t);
	if (!conn || conn->epoch == now_epoch || conn->flags & CONN_NOT_JUDGED)
		return 0;
	if (settle(&t, &h, 0)) /* 0: what is remembered is for packets, which may interrupt this */
		judge_again(&t, &h, conn, now_epoch);
	return 0;
}

/* Judges connections that are silent, so that they have fresh verdicts too.
 * User space names them and runs it by BPF_PROG_TEST_RUN after each change; it
 * is attached nowhere. (A syscall program would be the natural type, but those
 * may not use tries.) */
SEC("tc")
int ebpol_judge_again(struct __sk_buff *skb)
{
	bpf_for_each_map_elem(&again, judge_stale, NULL, 0);
	return 0;
}

/* Finds when the count of ticks was 0. Until then the clock is asked. User space
 * writes how long a tick is and runs it once. */
volatile __u64 clock_tick;

SEC("tc")
int ebpol_clock(struct __sk_buff *skb)
{
	tick_zero = bpf_ktime_get_coarse_ns() - bpf_jiffies64() * clock_tick;
	tick_ns = clock_tick;
	return 0;
}

/* Names these types in the object's BTF, from which Go's are made. */
const struct {
	enum event_kind a;
	enum conn_flags b;
	enum set_flags c;
	struct event d;
	struct head e;
	struct opening f;
	struct set g;
} *for_go __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
