/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What is told of processes and sockets: the maps, and how to fill an event.
 */

#include "types.h"
#include "sock.h"
#include "wake.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define NAME_MAX 16
#define PATH_MAX 128

enum who_kind {
	WHO_OPENS = 1,      /* a TCP connection; its own port may not be chosen yet */
	WHO_OPENED = 2,     /* the same with all ports, or once more */
	WHO_LISTENS = 3,
	WHO_SPEAKS = 4,     /* UDP from a port; 0: none is chosen yet, it's a socket that is being connected */
	WHO_RUNS = 5,       /* a process became another program */
	WHO_RETRANSMITS = 6,
	WHO_STOPPED = 7,    /* a port is no longer listened on */
	WHO_UNSENT = 8,     /* it wanted to send, and no packet was made */
};

struct who_process {
	__u64 start_ns; /* boottime: with the pid it names a process */
	__u32 pid;
	__u32 parent;
	char command[NAME_MAX];
};
_Static_assert(sizeof(struct who_process) == 32, "no holes");

struct who_event {
	__u64 time_ns; /* monotonic */
	__u64 socket;  /* names it while it lives */
	struct who_process process;
	__u32 kind;
	__u32 netns;
	struct addr local;
	struct addr peer;
	__u16 local_port; /* host order */
	__u16 peer_port;
	__u32 count; /* WHO_RETRANSMITS: so far; WHO_UNSENT: since the last one like it */
	__s32 error; /* WHO_UNSENT: as the process was told, negative; 0: not known */
	__u8 protocol; /* WHO_UNSENT */
	__u8 pad[3];
	char path[PATH_MAX]; /* WHO_RUNS */
};
_Static_assert(sizeof(struct who_event) == 232, "no holes");

/* Key: network namespaces of pods. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} who_spaces SEC(".maps");

/* Key: a socket that was opened. Later its state changes, and packets are
 * repeated, where no process is to be seen. */
struct who_socket {
	struct who_process process;
	__u32 retransmits;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct who_socket);
} who_sockets SEC(".maps");

/* What looks at every datagram, ebpol_who_sends, is run for whatever any process
 * sends. So it hangs only while pods speak UDP. */
enum who_sends {
	SENDS_RESTS,   /* whoever speaks is told, so that it is hung up */
	SENDS_HANGS,
	SENDS_MISSING, /* the kernel has no such place (below 6.3) */
};
volatile __u32 who_sending; /* enum who_sends */
/* 1: it saw a datagram; user space takes it back. */
volatile __u32 who_spoke;

/* Key: namespace << 16 | port of UDP. Value: the socket and process last told
 * of: each is told once. */
struct who_speaker {
	__u64 socket;
	__u32 pid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct who_speaker);
} who_speakers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} who_events SEC(".maps");

/* 0: off; the cost is then one load. */
volatile __u32 who_enabled;
/* Events that found the ring full. */
volatile __u64 who_lost;

static __always_inline bool ours(__u32 netns)
{
	return bpf_map_lookup_elem(&who_spaces, &netns);
}

/* The process namespace whose /proc user space reads. Nodes may have one of
 * their own (kind, the test cluster). */
volatile __u32 who_pidns;

#define PID_LEVELS 8

/* number: what the process is called there; 0 if it is not to be seen. */
static __always_inline __u32 number(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	__u32 i;

	for (i = 0; i < PID_LEVELS; i++) {
		struct pid_namespace *ns;
		struct upid *at;
		int nr;

		if (i > level)
			break;
		at = (void *)pid + bpf_core_field_offset(struct pid, numbers) + i * bpf_core_type_size(struct upid);
		if (bpf_core_read(&ns, sizeof(ns), &at->ns) || bpf_core_read(&nr, sizeof(nr), &at->nr))
			break;
		if (BPF_CORE_READ(ns, ns.inum) == who_pidns)
			return nr;
	}
	return 0;
}

static __always_inline void current_process(struct who_process *p)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	p->pid = number(task);
	p->parent = number(BPF_CORE_READ(task, real_parent));
	p->start_ns = BPF_CORE_READ(leader, start_boottime);
	/* the process's name, not that of the thread that happens to speak */
	bpf_core_read(p->command, sizeof(p->command), &leader->comm);
}

static __always_inline struct who_event *reserve(__u32 kind, __u32 netns)
{
	struct who_event *e = bpf_ringbuf_reserve(&who_events, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&who_lost, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->kind = kind;
	e->netns = netns;
	return e;
}

static __always_inline __be32 swap32(__u32 v)
{
	return __builtin_bswap32(v);
}

static __always_inline void ends(struct who_event *e, struct sock___who *sk)
{
	struct sock_common___who *c = &sk->__sk_common;
	struct in6 a;

	e->local_port = BPF_CORE_READ(c, skc_num);
	if (!e->local_port) /* refused at once: the socket has given its port back already */
		e->local_port = __builtin_bswap16(BPF_CORE_READ((struct inet_sock___who *)sk, inet_sport));
	e->peer_port = __builtin_bswap16(BPF_CORE_READ(c, skc_dport));
	if (BPF_CORE_READ(c, skc_family) == AF_INET) {
		e->local = (struct addr){ { 0, 0, swap32(0xffff), BPF_CORE_READ(c, skc_rcv_saddr) } };
		e->peer = (struct addr){ { 0, 0, swap32(0xffff), BPF_CORE_READ(c, skc_daddr) } };
		return;
	}
	bpf_core_read(&a, sizeof(a), &c->skc_v6_rcv_saddr);
	__builtin_memcpy(&e->local, &a, sizeof(a));
	bpf_core_read(&a, sizeof(a), &c->skc_v6_daddr);
	__builtin_memcpy(&e->peer, &a, sizeof(a));
}

/* space: the socket's namespace if it is one of ours, else 0. */
static __always_inline __u32 space(struct sock___who *sk)
{
	__u32 netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family != AF_INET && family != AF_INET6)
		return 0;
	return ours(netns) ? netns : 0;
}

static __always_inline void told(__u32 kind, __u32 netns, struct sock___who *sk, const struct who_process *p, __u32 count)
{
	struct who_event *e = reserve(kind, netns);

	if (!e)
		return;
	e->socket = (__u64)sk;
	e->process = *p;
	e->count = count;
	ends(e, sk);
	bpf_ringbuf_submit(e, rouse());
}
