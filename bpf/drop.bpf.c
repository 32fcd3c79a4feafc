//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Packets that the kernel frees without having delivered them, if one of the
 * session's pods is at either end.
 */

#include "lib/endpoints.h"
#include "lib/sock.h"
#include "lib/wake.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

#define STACK_MAX 12
#define NAME_MAX 16

struct drop_key {
	__u64 location;
	__u32 reason; /* of the running kernel; 0 where it has none */
	__u32 endpoint;
};
_Static_assert(sizeof(struct drop_key) == 16, "no holes");

struct drop_count {
	__u64 packets;
	__u64 told;    /* of them, accounted for in samples */
	__u64 last_ns; /* of the last sample, monotonic */
};

struct drop_event {
	__u64 time_ns; /* monotonic */
	__u64 location;
	__u64 weight;  /* drops with this key on this processor since the last sample */
	__u32 reason;
	__u32 endpoint;
	__u32 netns;
	__u32 ifindex;
	struct addr source;
	struct addr dest;
	__u16 source_port; /* host order */
	__u16 dest_port;
	__u32 length;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 pad[2];
	__s32 stack_bytes;
	char device[NAME_MAX];
	__u64 stack[STACK_MAX]; /* innermost first; starts in the tracer itself */
};
_Static_assert(sizeof(struct drop_event) == 200, "no holes");

struct drop_losses {
	__u64 ring_full;
	__u64 table_full;
};

/* What one processor has told in the present window of time. */
struct drop_window {
	__u64 began_ns;
	__u32 samples;
	__u32 firsts; /* of them, because nobody of their kind was told yet */
};
_Static_assert(sizeof(struct drop_window) == 16, "no holes");

/* Whose drops are alike: all but the port that the sender chose. */
struct drop_kind {
	struct addr source;
	struct addr dest;
	__u32 reason;
	__u16 dest_port;
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct drop_kind) == 40, "no holes");

/* Key: network namespaces of this node: its own and those of the pods. Others
 * on the same kernel may have the same addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} spaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
} drop_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} drop_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct drop_losses);
} losses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct drop_window);
} windows SEC(".maps");

/* Kinds of drops that were told, and when. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct drop_kind);
	__type(value, __u64);
} kinds SEC(".maps");

/* 0: off; the cost is then one load for each freed packet. */
volatile __u32 enabled;

/* The first few of a kind are told each; after that one in this time, so that
 * a storm costs a look-up and a count. */
#define SAMPLES_AT_ONCE 4
#define SAMPLE_EVERY_NS 100000000ULL

/* Bounds of what a processor tells in SAMPLE_EVERY_NS, whatever is dropped: in
 * all, and beyond the pace of its count because its ends were not told of yet.
 * So a rare drop is seen beside a storm of the same reason. */
#define SAMPLES_A_WINDOW 256
#define FIRSTS_A_WINDOW 64
#define KIND_AGAIN_NS 1000000000ULL

struct packet {
	struct addr source;
	struct addr dest;
	__u16 source_port;
	__u16 dest_port;
	__u8 protocol;
	__u8 tcp_flags;
};

static __always_inline bool read_transport(const unsigned char *at, struct packet *p)
{
	__u8 h[14] = {};

	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_SCTP)
		return true;
	if (bpf_probe_read_kernel(h, sizeof(h), at))
		return true;
	p->source_port = h[0] << 8 | h[1];
	p->dest_port = h[2] << 8 | h[3];
	if (p->protocol == IPPROTO_TCP)
		p->tcp_flags = h[13];
	return true;
}

/* read_packet: false if there is no IP header yet, or no more. */
static __always_inline bool read_packet(struct sk_buff *skb, struct packet *p)
{
	__u16 offset = skb->network_header;
	const unsigned char *at = skb->head + offset;
	__be16 protocol = skb->protocol;

	if (offset == 0xffff || !offset)
		return false;
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr h;

		if (bpf_probe_read_kernel(&h, sizeof(h), at) || h.version_ihl >> 4 != 4)
			return false;
		p->source = (struct addr){ { 0, 0, bpf_htonl(0xffff), h.saddr } };
		p->dest = (struct addr){ { 0, 0, bpf_htonl(0xffff), h.daddr } };
		p->protocol = h.protocol;
		if (h.frag_off & bpf_htons(0x1fff))
			return true;
		return read_transport(at + (h.version_ihl & 0xf) * 4, p);
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr h;

		if (bpf_probe_read_kernel(&h, sizeof(h), at) || (h.version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return false;
		__builtin_memcpy(&p->source, &h.saddr, sizeof(p->source));
		__builtin_memcpy(&p->dest, &h.daddr, sizeof(p->dest));
		p->protocol = h.nexthdr;
		return read_transport(at + sizeof(h), p);
	}
	return false;
}

/* read_socket: what a packet will carry that has no IP header yet, by the
 * socket that sends it. False if that isn't connected, or there is none. */
static __always_inline bool read_socket(struct sk_buff *skb, struct packet *p)
{
	struct sock___who *sk = (struct sock___who *)skb->sk;
	__u16 family;
	__u8 state;

	if (!sk || skb->network_header)
		return false;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	p->source_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	p->dest_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (!p->source_port || !p->dest_port || state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return false; /* the last two are no whole sockets */
	p->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP)
		return false;
	if (family == AF_INET) {
		p->source = (struct addr){ { 0, 0, bpf_htonl(0xffff), BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr) } };
		p->dest = (struct addr){ { 0, 0, bpf_htonl(0xffff), BPF_CORE_READ(sk, __sk_common.skc_daddr) } };
		return true;
	}
	if (family != AF_INET6)
		return false;
	BPF_CORE_READ_INTO(&p->source, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&p->dest, sk, __sk_common.skc_v6_daddr);
	return true;
}

static __always_inline bool ours(__u32 netns)
{
	return bpf_map_lookup_elem(&spaces, &netns);
}

/* space: the namespace of the packet, if it is this node's. A receive queue
 * writes over skb->dev, so the device may be nonsense; the socket isn't. */
static __always_inline __u32 space(struct sk_buff *skb, struct net_device **device)
{
	struct net_device *dev = skb->dev;
	struct sock *sk = skb->sk;
	unsigned long dst;
	__u32 netns;

	if (dev) {
		netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
		if (ours(netns)) {
			*device = dev;
			return netns;
		}
	}
	if (sk) {
		netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
		if (ours(netns))
			return netns;
	}
	dst = skb->_skb_refdst & ~1UL; /* the low bit says whether it is counted */
	if (dst) {
		dev = BPF_CORE_READ((struct dst_entry *)dst, dev);
		netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
		if (ours(netns)) {
			*device = dev;
			return netns;
		}
	}
	return 0;
}

static __always_inline __u32 endpoint_of(const struct packet *p)
{
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &p->source);

	if (!e)
		e = bpf_map_lookup_elem(&endpoints, &p->dest);
	return e ? e->id : 0;
}

static __always_inline struct drop_losses *lost(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&losses, &zero);
}

static __always_inline void sample(void *ctx, struct sk_buff *skb, const struct drop_key *key, const struct packet *p,
				   __u32 netns, struct net_device *dev, __u64 weight)
{
	struct drop_event *e = bpf_ringbuf_reserve(&drop_events, sizeof(*e), 0);
	struct drop_losses *l;

	if (!e) {
		l = lost();
		if (l)
			l->ring_full++;
		return;
	}
	e->time_ns = bpf_ktime_get_ns();
	e->location = key->location;
	e->weight = weight;
	e->reason = key->reason;
	e->endpoint = key->endpoint;
	e->netns = netns;
	e->ifindex = 0;
	e->source = p->source;
	e->dest = p->dest;
	e->source_port = p->source_port;
	e->dest_port = p->dest_port;
	e->length = skb->len;
	e->protocol = p->protocol;
	e->tcp_flags = p->tcp_flags;
	e->pad[0] = e->pad[1] = 0;
	__builtin_memset(e->device, 0, sizeof(e->device));
	if (dev) {
		e->ifindex = BPF_CORE_READ(dev, ifindex);
		bpf_core_read(e->device, sizeof(e->device), &dev->name);
	}
	e->stack_bytes = bpf_get_stack(ctx, e->stack, sizeof(e->stack), 0);
	bpf_ringbuf_submit(e, rouse());
}

/* may_tell: whether this processor's window has room; of a first one too. */
static __always_inline struct drop_window *may_tell(__u64 now)
{
	__u32 zero = 0;
	struct drop_window *w = bpf_map_lookup_elem(&windows, &zero);

	if (!w)
		return NULL;
	if (now - w->began_ns >= SAMPLE_EVERY_NS) {
		w->began_ns = now;
		w->samples = 0;
		w->firsts = 0;
	}
	return w->samples < SAMPLES_A_WINDOW ? w : NULL;
}

/* first_of_kind: whether no drop between these ends was told for a while. A
 * storm of one kind pays a look-up for each; one of many kinds soon none. */
static __always_inline bool first_of_kind(const struct packet *p, __u32 reason, __u64 now, struct drop_window *w)
{
	struct drop_kind kind = { .reason = reason, .dest_port = p->dest_port, .protocol = p->protocol };
	__u64 *last;

	if (w->firsts >= FIRSTS_A_WINDOW)
		return false;
	kind.source = p->source;
	kind.dest = p->dest;
	last = bpf_map_lookup_elem(&kinds, &kind);
	if (last && now - *last < KIND_AGAIN_NS)
		return false;
	w->firsts++;
	bpf_map_update_elem(&kinds, &kind, &now, BPF_ANY);
	return true;
}

static __always_inline int dropped(void *ctx, struct sk_buff *skb, __u64 location, __u32 reason)
{
	struct drop_key key = { .location = location, .reason = reason };
	struct net_device *dev = NULL;
	struct drop_count *count, fresh = {};
	struct packet p = {};
	struct drop_window *window;
	struct drop_losses *l;
	__u64 now, weight;
	__u32 netns;

	if (!enabled || skb->mark == MARK_ENFORCED || (!read_packet(skb, &p) && !read_socket(skb, &p)))
		return 0;
	key.endpoint = endpoint_of(&p);
	if (!key.endpoint)
		return 0;
	netns = space(skb, &dev);
	if (!netns)
		return 0;
	count = bpf_map_lookup_elem(&drop_counts, &key);
	if (!count) {
		bpf_map_update_elem(&drop_counts, &key, &fresh, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&drop_counts, &key);
		if (!count) {
			l = lost();
			if (l)
				l->table_full++;
			return 0;
		}
	}
	count->packets++;
	now = bpf_ktime_get_ns();
	window = may_tell(now);
	if (!window)
		return 0;
	if (count->packets > SAMPLES_AT_ONCE && now - count->last_ns < SAMPLE_EVERY_NS && !first_of_kind(&p, reason, now, window))
		return 0;
	window->samples++;
	weight = count->packets - count->told;
	count->told = count->packets;
	count->last_ns = now;
	sample(ctx, skb, &key, &p, netns, dev, weight);
	return 0;
}

/* Runs whenever a packet is freed for a reason, 5.17 and later. */
SEC("tp_btf/kfree_skb")
int ebpol_drop(__u64 *ctx)
{
	__u32 reason = ctx[2];

	if (reason == SKB_NOT_DROPPED_YET)
		return 0;
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_CONSUMED) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_CONSUMED))
		return 0;
	return dropped(ctx, (struct sk_buff *)ctx[0], ctx[1], reason);
}

/* The same for kernels whose tracepoint has no reason. */
SEC("tp_btf/kfree_skb")
int ebpol_drop_bare(__u64 *ctx)
{
	return dropped(ctx, (struct sk_buff *)ctx[0], ctx[1], 0);
}

/* Names an address of the kernel, without the right to read all of them. User
 * space writes the address, runs it by BPF_PROG_TEST_RUN and reads the name. */
volatile __u64 symbol_address;
char symbol_name[128];

SEC("tc")
int ebpol_symbol(struct __sk_buff *skb)
{
	static const char format[] = "%pS";
	__u64 args[1] = { symbol_address };

	return bpf_snprintf(symbol_name, sizeof(symbol_name), format, args, sizeof(args));
}

/* Names these types in the object's BTF, from which Go's are made. */
const struct {
	struct drop_event a;
} *for_go __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
