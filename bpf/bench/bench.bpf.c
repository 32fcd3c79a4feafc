//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The flow programs with what measuring them needs: nothing at all, to compare
 * with, and a source port that changes with each run, so that each run is a new flow;
 * or the peer's address, so that nothing remembered of the last runs helps.
 */

#include "../flow.bpf.c"

SEC("tc")
int bench_empty(struct __sk_buff *skb)
{
	return NEXT;
}

static __always_inline bool next_flow(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *version = data + ETH_HLEN;
	__be16 *port;

	if (data + ETH_HLEN + 20 + 4 > end)
		return false;
	port = data + ETH_HLEN + 20;
	if (*version >> 4 == 6) {
		if (data + ETH_HLEN + 40 + 4 > end)
			return false;
		port = data + ETH_HLEN + 40;
	}
	*port = bpf_htons(bpf_ntohs(*port) + 1);
	return true;
}

/* next_peer: one of 4,096. */
static __always_inline bool next_peer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *version = data + ETH_HLEN;
	__be16 *low;

	if (data + ETH_HLEN + 20 > end)
		return false;
	low = data + ETH_HLEN + 18;
	if (*version >> 4 == 6) {
		if (data + ETH_HLEN + 40 > end)
			return false;
		low = data + ETH_HLEN + 38;
	}
	*low = bpf_htons((bpf_ntohs(*low) + 1) & 0xfff);
	return true;
}

SEC("tc")
int bench_port(struct __sk_buff *skb)
{
	next_flow(skb);
	return NEXT;
}

SEC("tc")
int bench_new(struct __sk_buff *skb)
{
	return next_flow(skb) ? handle(skb, 1) : NEXT;
}

SEC("tc")
int bench_new_peer(struct __sk_buff *skb)
{
	return next_peer(skb) && next_flow(skb) ? handle(skb, 1) : NEXT;
}
