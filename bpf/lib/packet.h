/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * From a packet to its tuple, for whatever the fast path in flow.bpf.c does
 * not take: options, extension headers, fragments, ICMP, headers that aren't
 * in the linear part. Bytes are copied out one header at a time, so a packet
 * may end anywhere and nothing of it is changed or moved.
 */

#include "ip.h"

/* What TCP's flags say of who opened. */
static __always_inline __u8 tcp_opener(__u8 flags)
{
	if (flags & TCP_SYN)
		return flags & TCP_ACK ? OPENER_OTHER : OPENER_SENDER;
	return flags & (TCP_FIN | TCP_RST) ? OPENER_NONE : OPENER_UNKNOWN;
}

/* related: an ICMP error carries the start of the packet that it is about.
 * t becomes the tuple of that packet's connection, but for the headers. */
__noinline int related(struct __sk_buff *skb, __u32 at, struct tuple *t)
{
	struct cursor c = { .skb = skb, .at = at };
	struct ports p = {};
	struct ip ip = {};
	int err;

	if (!t)
		return PASS_CUT_SHORT;
	err = parse_ip(&c, t->family, &ip);
	if (err)
		return err;
	if (ip.later)
		return PASS_UNRELATED;
	if (ip.protocol == IPPROTO_TCP || ip.protocol == IPPROTO_UDP || ip.protocol == IPPROTO_SCTP) {
		if (!peek(&c, &p, sizeof(p)))
			return PASS_CUT_SHORT;
	} else if (ip.protocol == IPPROTO_ICMP || ip.protocol == IPPROTO_ICMPV6) {
		c.at += 4; /* the identifier of an echo */
		if (!peek(&c, &p.source, sizeof(p.source)))
			return PASS_CUT_SHORT;
		p.dest = p.source;
	}
	/* One that comes in is about a packet that went out, and the reverse. */
	t->protocol = ip.protocol;
	t->local = t->egress ? ip.dest : ip.source;
	t->peer = t->egress ? ip.source : ip.dest;
	t->local_port = t->egress ? p.dest : p.source;
	t->peer_port = t->egress ? p.source : p.dest;
	return PASS_RELATED;
}

/* parse_icmp4 and parse_icmp6 leave the echo identifier in both ports. */
static __always_inline int parse_icmp4(struct cursor *c, struct ports *p, struct tuple *t)
{
	__u8 h[8];

	if (!peek(c, h, sizeof(h)))
		return PASS_CUT_SHORT;
	switch (h[0]) {
	case 3:  /* unreachable */
	case 4:  /* source quench */
	case 5:  /* redirect */
	case 11: /* time exceeded */
	case 12: /* parameter problem */
		return related(c->skb, c->at + 8, t);
	case 0:  /* echo reply */
	case 14: /* timestamp reply */
		t->opener = OPENER_OTHER;
		break;
	case 8:
	case 13:
		break;
	default:
		return PARSED;
	}
	__builtin_memcpy(&p->source, h + 4, 2);
	p->dest = p->source;
	t->headers += 8;
	return PARSED;
}

static __always_inline int parse_icmp6(struct cursor *c, struct ports *p, struct tuple *t)
{
	__u8 h[8];

	if (!peek(c, h, 4))
		return PASS_CUT_SHORT;
	if (h[0] < 128) /* errors */
		return related(c->skb, c->at + 8, t);
	if ((h[0] >= 130 && h[0] <= 137) || h[0] == 143) /* listeners, neighbours, routers */
		return PASS_NEIGHBOUR;
	if (h[0] > 129)
		return PARSED;
	if (!peek(c, h, sizeof(h)))
		return PASS_CUT_SHORT;
	if (h[0] == 129) /* echo reply */
		t->opener = OPENER_OTHER;
	__builtin_memcpy(&p->source, h + 4, 2);
	p->dest = p->source;
	t->headers += 8;
	return PARSED;
}

static __always_inline int parse_transport(struct cursor *c, struct ip *ip, struct ports *p, struct tuple *t)
{
	__u8 h[2];

	switch (ip->protocol) {
	case IPPROTO_TCP:
		if (!peek(c, p, sizeof(*p)))
			return PASS_CUT_SHORT;
		c->at += 12;
		if (!peek(c, h, sizeof(h)))
			return PASS_CUT_SHORT;
		t->tcp_flags = h[1];
		t->opener = tcp_opener(h[1]);
		t->headers += (h[0] >> 4) * 4;
		return PARSED;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		t->headers += 8;
		return peek(c, p, sizeof(*p)) ? PARSED : PASS_CUT_SHORT;
	case IPPROTO_ICMP:
		return t->family == 4 ? parse_icmp4(c, p, t) : PARSED;
	case IPPROTO_ICMPV6:
		return t->family == 6 ? parse_icmp6(c, p, t) : PARSED;
	}
	return PARSED;
}

static __always_inline int parse_fragment(struct cursor *c, struct ip *ip, struct ports *p, struct tuple *t)
{
	struct fragment_key key = {
		.source = ip->source, .dest = ip->dest, .id = ip->fragment_id, .protocol = ip->protocol,
	};
	struct ports *first;
	int err;

	if (!ip->later) {
		err = parse_transport(c, ip, p, t);
		if (!err)
			bpf_map_update_elem(&fragments, &key, p, BPF_ANY);
		return err;
	}
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first)
		return PASS_FRAGMENT_LOST;
	*p = *first;
	if (ip->protocol == IPPROTO_TCP)
		t->opener = OPENER_NONE; /* a connection never starts with one */
	return PARSED;
}

/* ether_type: what follows the link header, behind VLAN tags that stand in the
 * frame: those of a socket that writes frames itself. */
static __always_inline __be16 ether_type(struct cursor *c)
{
	__be16 type = c->skb->protocol;
	__be16 tag[2];
	int i;

	for (i = 0; i < 2; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			return type;
		if (!peek(c, tag, sizeof(tag)))
			return 0;
		type = tag[1];
		c->at += sizeof(tag);
	}
	return type;
}

static __always_inline __u32 network_header(struct __sk_buff *skb)
{
	struct cursor c = { .skb = skb, .at = link_header() };

	ether_type(&c);
	return c.at;
}

/* parse fills t; t->egress is set by the caller. */
__noinline int parse(struct __sk_buff *skb, struct tuple *t)
{
	struct cursor c = { .skb = skb, .at = link_header() };
	struct ports p = {};
	struct ip ip = {};
	__be16 type;
	int err;

	if (!t)
		return PASS_CUT_SHORT;
	type = ether_type(&c);
	if (type == bpf_htons(ETH_P_IP))
		t->family = 4;
	else if (type == bpf_htons(ETH_P_IPV6))
		t->family = 6;
	else
		return PASS_NOT_IP;
	err = parse_ip(&c, t->family, &ip);
	if (err)
		return err;
	t->headers = c.at - link_header();
	t->opener = OPENER_SENDER;
	t->protocol = ip.protocol;
	err = ip.fragment ? parse_fragment(&c, &ip, &p, t) : parse_transport(&c, &ip, &p, t);
	if (err)
		return err;
	if (!ip.fragment && ip.end > t->headers + link_header())
		t->payload = ip.end - t->headers - link_header();
	t->local = t->egress ? ip.source : ip.dest;
	t->peer = t->egress ? ip.dest : ip.source;
	t->local_port = t->egress ? p.source : p.dest;
	t->peer_port = t->egress ? p.dest : p.source;
	return PARSED;
}
