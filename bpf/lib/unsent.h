/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What never becomes a packet: a connect() that fails for want of a route, a
 * port or somebody's leave. No tracepoint tells of it but that of all system
 * calls, which would tax each of them. So connect() is noted where it begins,
 * the note is crossed out once the socket sends its SYN, and who lets the socket
 * go with the note still there has failed.
 */

#include "who.h"

#define EACCES 13
#define EINVAL 22
#define EMSGSIZE 90
#define EADDRNOTAVAIL 99
#define ENETUNREACH 101
#define EHOSTUNREACH 113

/* Whether the kernel has the helper, 5.18 and later. */
enum bpf_func_id___who {
	BPF_FUNC_get_retval___who = 186,
};

/* Key: a TCP socket that wants to connect. */
struct who_want {
	struct addr peer;
	__u16 port; /* host order */
	__u8 pad[2];
	__s32 error; /* of a cgroup program's that ran before ours */
};
_Static_assert(sizeof(struct who_want) == 24, "no holes");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct who_want);
} who_wants SEC(".maps");

/* Key: failures that are alike. Value: how many, and which were told: a storm
 * of them costs a look-up each. */
struct who_failure {
	struct addr peer;
	__u32 netns;
	__s32 error;
	__u16 port;
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct who_failure) == 28, "no holes");

struct who_failures {
	__u64 last_ns; /* of the last that was told, monotonic */
	__u64 count;
	__u64 told;    /* of them */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct who_failure);
	__type(value, struct who_failures);
} who_failed SEC(".maps");

#define FAILED_EVERY_NS 100000000ULL

static __always_inline void unsent(__u64 socket, __u32 netns, __u8 protocol, const struct who_want *want)
{
	struct who_failure key = { .netns = netns, .error = want->error, .port = want->port, .protocol = protocol };
	struct who_failures *seen, fresh = {};
	struct who_event *e;
	__u64 now = bpf_ktime_get_ns(), n;

	key.peer = want->peer;
	seen = bpf_map_lookup_elem(&who_failed, &key);
	if (!seen) {
		bpf_map_update_elem(&who_failed, &key, &fresh, BPF_NOEXIST);
		seen = bpf_map_lookup_elem(&who_failed, &key);
		if (!seen)
			return;
	}
	__sync_fetch_and_add(&seen->count, 1);
	if (now - seen->last_ns < FAILED_EVERY_NS)
		return;
	n = seen->count;
	e = reserve(WHO_UNSENT, netns);
	if (!e)
		return;
	current_process(&e->process);
	e->socket = socket;
	e->peer = want->peer;
	e->peer_port = want->port;
	e->count = n - seen->told;
	e->error = want->error;
	e->protocol = protocol;
	bpf_ringbuf_submit(e, rouse());
	seen->last_ns = now;
	seen->told = n;
}

/* new_speaker: whether this process wasn't told of last for that port. */
static __always_inline bool new_speaker(struct sock___who *sk, __u32 netns)
{
	__u64 key = (__u64)netns << 16 | BPF_CORE_READ(sk, __sk_common.skc_num);
	struct who_speaker *last, now = { .socket = (__u64)sk, .pid = bpf_get_current_pid_tgid() >> 32 };

	last = bpf_map_lookup_elem(&who_speakers, &key);
	if (last && last->socket == now.socket && last->pid == now.pid)
		return false;
	bpf_map_update_elem(&who_speakers, &key, &now, BPF_ANY);
	return true;
}

/* speaks tells who connects a socket of UDP, or sends on one that isn't
 * connected, unless the datagram will tell it. to is where, of one that isn't
 * connected yet. */
static __always_inline void speaks(struct sock___who *sk, __u32 netns, const struct who_want *to)
{
	struct who_event *e;

	if (who_sending == SENDS_HANGS)
		return;
	if (who_sending == SENDS_MISSING && BPF_CORE_READ(sk, __sk_common.skc_num) && !new_speaker(sk, netns))
		return;
	e = reserve(WHO_SPEAKS, netns);
	if (!e)
		return;
	current_process(&e->process);
	e->socket = (__u64)sk;
	ends(e, sk);
	if (to) {
		e->peer = to->peer;
		e->peer_port = to->port;
	}
	bpf_ringbuf_submit(e, rouse());
}

/* wants notes a connect(). Of UDP, where one that works is as silent as one that
 * doesn't, what a program refused is told, and who will speak. */
static __always_inline int wants(struct bpf_sock_addr *ctx, struct who_want *want)
{
	__u64 at = ctx->sk, key;
	struct who_want *old;
	__u32 netns;

	/* A number to the verifier, which lets nobody count from a pointer here. */
	bpf_probe_read_kernel(&key, sizeof(key), &at);
	netns = space((struct sock___who *)key);
	if (!netns)
		return 1;
	want->port = __builtin_bswap16(ctx->user_port);
	if (bpf_core_enum_value_exists(enum bpf_func_id___who, BPF_FUNC_get_retval___who))
		want->error = bpf_get_retval();
	if (ctx->protocol != IPPROTO_TCP) {
		if (ctx->protocol == IPPROTO_UDP && want->error)
			unsent(key, netns, IPPROTO_UDP, want);
		else if (ctx->protocol == IPPROTO_UDP)
			speaks((struct sock___who *)key, netns, want);
		return 1;
	}
	old = bpf_map_lookup_elem(&who_wants, &key);
	if (old) /* it tries again with the same socket */
		unsent(key, netns, IPPROTO_TCP, old);
	bpf_map_update_elem(&who_wants, &key, want, BPF_ANY);
	return 1;
}

/* no_port: connect() found no port of its own for that destination. */
static __always_inline void no_port(__u64 key, __u32 netns, struct sock___who *sk)
{
	struct who_event at = {};
	struct who_want want = {};

	ends(&at, sk);
	if (at.local_port)
		return;
	want.peer = at.peer;
	want.port = at.peer_port;
	want.error = -EADDRNOTAVAIL;
	unsent(key, netns, IPPROTO_TCP, &want);
}

/* datagram: one that is about to be sent to somewhere. */
static __always_inline int datagram(struct bpf_sock_addr *ctx)
{
	__u64 at = ctx->sk, key;
	__u32 netns;

	if (!who_enabled || who_sending == SENDS_HANGS || ctx->protocol != IPPROTO_UDP)
		return 1;
	bpf_probe_read_kernel(&key, sizeof(key), &at);
	netns = space((struct sock___who *)key);
	if (netns)
		speaks((struct sock___who *)key, netns, NULL);
	return 1;
}

/* not_sent: a datagram that nothing came of before it was a packet. Where to is
 * known of connected sockets only. What was dropped later is told of as a drop,
 * and refusals (ECONNREFUSED) speak of an earlier datagram. */
static __always_inline void not_sent(struct sock___who *sk, __u32 netns, int error)
{
	struct who_event at = {};
	struct who_want want = {};

	if (error != -ENETUNREACH && error != -EHOSTUNREACH && error != -EINVAL && error != -EACCES && error != -EADDRNOTAVAIL && error != -EMSGSIZE)
		return;
	ends(&at, sk);
	if (!at.peer_port)
		return;
	want.peer = at.peer;
	want.port = at.peer_port;
	want.error = error;
	unsent((__u64)sk, netns, IPPROTO_UDP, &want);
}
