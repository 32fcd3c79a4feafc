//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Which process opens a connection or waits for one: sockets are watched where
 * the process itself acts. Only in the network namespaces of the session's
 * pods; everything else costs a look-up.
 */

#include "lib/unsent.h"

/* Run when a process calls connect(), below the system's root cgroup: after the
 * programs of the cgroups in it, whose answer can be read. They always let it
 * pass. */
SEC("cgroup/connect4")
int ebpol_who_wants4(struct bpf_sock_addr *ctx)
{
	struct who_want want = { .peer = { { 0, 0, swap32(0xffff), 0 } } };

	if (!who_enabled)
		return 1;
	want.peer.word[3] = ctx->user_ip4;
	return wants(ctx, &want);
}

SEC("cgroup/connect6")
int ebpol_who_wants6(struct bpf_sock_addr *ctx)
{
	struct who_want want = {};

	if (!who_enabled)
		return 1;
	want.peer.word[0] = ctx->user_ip6[0];
	want.peer.word[1] = ctx->user_ip6[1];
	want.peer.word[2] = ctx->user_ip6[2];
	want.peer.word[3] = ctx->user_ip6[3];
	return wants(ctx, &want);
}

/* Run when a process sends on a socket of UDP that isn't connected. */
SEC("cgroup/sendmsg4")
int ebpol_who_speaks4(struct bpf_sock_addr *ctx)
{
	return datagram(ctx);
}

SEC("cgroup/sendmsg6")
int ebpol_who_speaks6(struct bpf_sock_addr *ctx)
{
	return datagram(ctx);
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
		if (to == TCP_SYN_SENT) {
			bpf_map_delete_elem(&who_wants, &key);
			bpf_map_update_elem(&who_sockets, &key, &fresh, BPF_ANY);
		}
		told(to == TCP_LISTEN ? WHO_LISTENS : WHO_OPENS, netns, sk, &fresh.process, 0);
		return 0;
	}
	if (from == TCP_LISTEN) {
		if (to == TCP_CLOSE)
			told(WHO_STOPPED, netns, sk, &nobody, 0);
		return 0;
	}
	known = bpf_map_lookup_elem(&who_sockets, &key);
	if (to == TCP_CLOSE && !BPF_CORE_READ(sk, __sk_common.skc_num) && !BPF_CORE_READ(sk, sk_err))
		no_port(key, netns, sk);
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

	struct who_want *failed;
	__u32 netns;

	if (!who_enabled)
		return 0;
	failed = bpf_map_lookup_elem(&who_wants, &key);
	if (failed) {
		netns = space(sk);
		if (netns)
			unsent(key, netns, IPPROTO_TCP, failed);
		bpf_map_delete_elem(&who_wants, &key);
	}
	bpf_map_delete_elem(&who_sockets, &key);
	return 0;
}

/* Runs after a process sent something (Linux 6.3), on any socket of the
 * machine: what isn't UDP must cost a load, not a call, and it hangs only while
 * pods speak UDP. Reading isn't followed, it would cost every message as much
 * again; who only ever reads UDP is known if the socket was open when the trace
 * began. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(ebpol_who_sends, struct sock___who *sk, int sent)
{
	struct who_process p = {};
	__u32 netns;

	if (!who_enabled || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	netns = space(sk);
	if (!netns)
		return 0;
	if (!who_spoke) /* written seldom: all processors share it */
		who_spoke = 1;
	if (sent < 0)
		not_sent(sk, netns, sent);
	if (!new_speaker(sk, netns))
		return 0;
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
	bpf_ringbuf_submit(e, rouse());
	return 0;
}

/* Names these types in the object's BTF, from which Go's are made. */
const struct {
	enum who_kind a;
	struct who_event b;
	enum who_sends c;
} *for_go __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
