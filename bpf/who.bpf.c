//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Which process opens a connection or waits for one: sockets are watched where
 * the process itself acts. Only in the network namespaces of the session's
 * pods; everything else costs a look-up.
 */

#include "lib/types.h"
#include "lib/sock.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define NAME_MAX 16
#define PATH_MAX 128

enum who_kind {
	WHO_OPENS = 1,      /* a TCP connection; its own port may not be chosen yet */
	WHO_OPENED = 2,     /* the same with all ports, or once more */
	WHO_LISTENS = 3,
	WHO_SPEAKS = 4,     /* UDP from a port */
	WHO_RUNS = 5,       /* a process became another program */
	WHO_RETRANSMITS = 6,
	WHO_STOPPED = 7,    /* a port is no longer listened on */
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
	__u32 count; /* WHO_RETRANSMITS: so far */
	char path[PATH_MAX]; /* WHO_RUNS */
};
_Static_assert(sizeof(struct who_event) == 224, "no holes");

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
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* Runs for each change of a TCP socket's state. Towards SYN_SENT and LISTEN
 * that is in the process that asks for it, before it has a port of its own. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(ebpol_who_state, struct sock___who *sk, int from, int to)
{
	struct who_socket *known, fresh = {};
	struct who_process nobody = {};
	__u64 key = (__u64)sk;
	__u32 netns;

	if (!who_enabled || (to != TCP_SYN_SENT && to != TCP_LISTEN && from != TCP_SYN_SENT && from != TCP_LISTEN))
		return 0;
	netns = space(sk);
	if (!netns || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT || to == TCP_LISTEN) {
		current_process(&fresh.process);
		if (to == TCP_SYN_SENT)
			bpf_map_update_elem(&who_sockets, &key, &fresh, BPF_ANY);
		told(to == TCP_LISTEN ? WHO_LISTENS : WHO_OPENS, netns, sk, &fresh.process, 0);
		return 0;
	}
	if (from == TCP_LISTEN) {
		if (to == TCP_CLOSE)
			told(WHO_STOPPED, netns, sk, &nobody, 0);
		return 0;
	}
	known = bpf_map_lookup_elem(&who_sockets, &key);
	if (known)
		told(WHO_OPENED, netns, sk, &known->process, known->retransmits);
	return 0;
}

/* Runs for each segment that TCP sends once more. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(ebpol_who_again, struct sock___who *sk)
{
	struct who_socket *known, fresh = {};
	__u64 key = (__u64)sk;
	__u32 netns, n;

	if (!who_enabled)
		return 0;
	netns = space(sk);
	if (!netns)
		return 0;
	known = bpf_map_lookup_elem(&who_sockets, &key);
	if (!known) {
		bpf_map_update_elem(&who_sockets, &key, &fresh, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&who_sockets, &key);
		if (!known)
			return 0;
	}
	n = ++known->retransmits; /* the socket is locked */
	if (n <= 4 || !(n & (n - 1))) /* 1 to 4, then 8, 16, 32, ... */
		told(WHO_RETRANSMITS, netns, sk, &known->process, n);
	return 0;
}

/* Runs when TCP lets a socket go: another may get its address. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(ebpol_who_gone, struct sock___who *sk)
{
	__u64 key = (__u64)sk;

	if (!who_enabled)
		return 0;
	bpf_map_delete_elem(&who_sockets, &key);
	return 0;
}

/* Runs after a process sent something (Linux 6.3), on any socket of the
 * machine: what isn't UDP must cost a load, not a call. Reading isn't followed,
 * it would cost every message as much again; who only ever reads UDP is known
 * if the socket was open when the trace began. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(ebpol_who_sends, struct sock___who *sk)
{
	struct who_process p = {};
	struct who_speaker *last, now = {};
	__u32 netns;
	__u64 key;

	if (!who_enabled || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	netns = space(sk);
	if (!netns)
		return 0;
	key = (__u64)netns << 16 | BPF_CORE_READ(sk, __sk_common.skc_num);
	now.socket = (__u64)sk;
	now.pid = bpf_get_current_pid_tgid() >> 32;
	last = bpf_map_lookup_elem(&who_speakers, &key);
	if (last && last->socket == now.socket && last->pid == now.pid)
		return 0;
	bpf_map_update_elem(&who_speakers, &key, &now, BPF_ANY);
	current_process(&p);
	told(WHO_SPEAKS, netns, sk, &p, 0);
	return 0;
}

/* Runs when a process becomes another program: one that ends soon can't be
 * asked what it was. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(ebpol_who_runs, struct task_struct *task, int old, struct linux_binprm *binary)
{
	struct who_event *e;
	__u32 netns;

	if (!who_enabled)
		return 0;
	netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	if (!ours(netns))
		return 0;
	e = reserve(WHO_RUNS, netns);
	if (!e)
		return 0;
	current_process(&e->process);
	bpf_probe_read_kernel_str(e->path, sizeof(e->path), BPF_CORE_READ(binary, filename));
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Names these types in the object's BTF, from which Go's are made. */
const struct {
	enum who_kind a;
	struct who_event b;
} *for_go __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
