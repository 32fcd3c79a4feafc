/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Sockets and processes, as far as it takes to say whose a connection is.
 * Read with CO-RE only; the endings in ___who stand for the kernel's types
 * without them, of which kernel.h has a part.
 */

#include "kernel.h"

enum {
	AF_INET = 2,
	AF_INET6 = 10,
};

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
	TCP_NEW_SYN_RECV = 12,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common___who {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6 skc_v6_daddr;
	struct in6 skc_v6_rcv_saddr;
};

struct sock___who {
	struct sock_common___who __sk_common;
	__u16 sk_protocol;
	int sk_err;
};

/* Keeps its port after it gave it back. */
struct inet_sock___who {
	__be16 inet_sport;
};

struct nsproxy {
	struct net *net_ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct task_struct {
	int tgid;
	struct pid *thread_pid;
	struct task_struct *real_parent;
	struct nsproxy *nsproxy;
	__u64 start_boottime;
	struct task_struct *group_leader;
	char comm[16];
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

/* What a program on a cgroup's connect is told; of the user space API, so it
 * stays as it is. */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;    /* network order */
	__u32 user_ip6[4]; /* network order */
	__u32 user_port;   /* network order, in the first two bytes */
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	__u64 sk; /* struct bpf_sock * */
};
