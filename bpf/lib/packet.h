/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * From a packet to its tuple, for whatever the fast path in flow.bpf.c does
 * not take: options, extension headers, fragments, ICMP, headers that aren't
 * in the linear part. Bytes are copied out one header at a time, so a packet
 * may end anywhere and nothing of it is changed or moved.
 */

#include "maps.h"
#include <bpf/bpf_endian.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

enum opener {
	OPENER_SENDER,  /* this packet opens the connection, if there is none */
	OPENER_OTHER,   /* it answers the one that did */
	OPENER_UNKNOWN, /* it is from the middle of one */
	OPENER_NONE,    /* it is from the end of one: not worth an entry */
};

/* A packet, seen from the endpoint. It begins as the key of its connection. */
struct tuple {
	union {
		struct conn6_key key;
		__u64 word[5];
		struct {
			struct addr local;
			struct addr peer;
			union {
				struct {
					__be16 local_port;
					__be16 peer_port;
				};
				__u32 ports; /* both at once */
			};
			__u8 protocol;
			__u8 zero[3];
		};
	};
	__u8 family; /* 4 or 6 */
	__u8 tcp_flags;
	__u8 opener;
	__u8 pad;
	__u32 headers; /* bytes from what follows the link header to the payload */
	__u32 payload; /* bytes; 0 in fragments. A frame may be longer than both: it is padded */
	__u32 egress;  /* 1: it leaves the endpoint */
};

enum parsed {
	PARSED,
	PASS_NOT_IP,
	PASS_CUT_SHORT,
	PASS_FRAGMENT_LOST,
	PASS_NEIGHBOUR,
	PASS_RELATED,
	PASS_UNRELATED,
};

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) |
		 (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}

/* Keys are put together in registers and written in whole words: a look-up
 * that reads a word just after its halves were written waits for both. */
union key4 {
	struct conn4_key key;
	__u64 word[2];
};

union key6 {
	struct conn6_key key;
	__u64 word[5];
};

/* local_first: the ports of a transport header, the endpoint's first. */
static __always_inline __u32 local_first(__u32 both, __u32 egress)
{
	return egress ? both : both << 16 | both >> 16;
}

static __always_inline struct addr mapped(__be32 v4)
{
	return (struct addr){ { 0, 0, bpf_htonl(0xffff), v4 } };
}

static __always_inline __u32 link_header(void)
{
	return no_link_header ? 0 : ETH_HLEN;
}

/* A place in the packet; every step checks, copies and moves on. */
struct cursor {
	struct __sk_buff *skb;
	__u32 at;
};

static __always_inline bool peek(const struct cursor *c, void *to, __u32 n)
{
	return bpf_skb_load_bytes(c->skb, c->at, to, n) == 0;
}

#define EXTENSIONS_MAX 8

/* One IP header with all that stands between it and the transport header. */
struct ip {
	struct addr source;
	struct addr dest;
	__be32 fragment_id;
	__u32 protocol;
	__u32 end;     /* where the packet ends, in the frame */
	bool fragment; /* not whole */
	bool later;    /* nor the first part of it */
};

static __always_inline int parse_ip4(struct cursor *c, struct ip *ip)
{
	struct iphdr h;
	__u32 length;

	if (!peek(c, &h, sizeof(h)))
		return PASS_CUT_SHORT;
	length = (h.version_ihl & 0xf) * 4;
	if (h.version_ihl >> 4 != 4 || length < sizeof(h))
		return PASS_CUT_SHORT;
	ip->source = mapped(h.saddr);
	ip->dest = mapped(h.daddr);
	ip->protocol = h.protocol;
	ip->fragment_id = h.id;
	ip->fragment = h.frag_off & bpf_htons(0x3fff);
	ip->later = h.frag_off & bpf_htons(0x1fff);
	ip->end = h.tot_len ? c->at + bpf_ntohs(h.tot_len) : c->skb->len; /* 0: too large for the field */
	c->at += length;
	return PARSED;
}

static __always_inline int parse_ip6(struct cursor *c, struct ip *ip)
{
	struct ipv6hdr h;
	__u8 ext[8];
	int i;

	if (!peek(c, &h, sizeof(h)))
		return PASS_CUT_SHORT;
	if ((h.version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return PASS_CUT_SHORT;
	__builtin_memcpy(&ip->source, &h.saddr, sizeof(ip->source));
	__builtin_memcpy(&ip->dest, &h.daddr, sizeof(ip->dest));
	ip->protocol = h.nexthdr;
	c->at += sizeof(h);
	ip->end = h.payload_len ? c->at + bpf_ntohs(h.payload_len) : c->skb->len;
	for (i = 0; i < EXTENSIONS_MAX; i++) {
		switch (ip->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_AH:
			if (!peek(c, ext, 2))
				return PASS_CUT_SHORT;
			/* in units of 8 bytes beyond the first; of 4, and 2 too few, for AH */
			c->at += ip->protocol == IPPROTO_AH ? (ext[1] + 2) * 4 : (ext[1] + 1) * 8;
			break;
		case IPPROTO_FRAGMENT:
			if (!peek(c, ext, 8))
				return PASS_CUT_SHORT;
			ip->fragment = ext[2] | (ext[3] & 0xf9);
			ip->later = ext[2] | (ext[3] & 0xf8);
			__builtin_memcpy(&ip->fragment_id, ext + 4, 4);
			c->at += 8;
			break;
		default:
			return PARSED;
		}
		ip->protocol = ext[0];
		if (ip->later)
			return PARSED;
	}
	return PASS_CUT_SHORT;
}

static __always_inline int parse_ip(struct cursor *c, __u32 family, struct ip *ip)
{
	return family == 4 ? parse_ip4(c, ip) : parse_ip6(c, ip);
}

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
