/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * IP headers, of both families, with all that stands between them and the
 * transport header.
 */

#include "tuple.h"

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
