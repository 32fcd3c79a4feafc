/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What the programs need of the kernel's types: nothing else, so that no
 * generated dump of all of them has to live here. The structs of the first
 * part are fixed (packets on the wire, the program's context). Those of the
 * second part change from kernel to kernel: the loader finds their fields in
 * the running kernel's BTF.
 */

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;
enum { false, true };

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_CGROUP_STORAGE = 19,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1024,
};

struct bpf_cgroup_storage_key {
	__u64 cgroup_inode_id;
	__u32 attach_type;
};

enum {
	EEXIST = 17,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

/* A socket, as a program may read it. Of an IPv6 socket that speaks IPv4 both
 * kinds of address are there. */
struct bpf_sock {
	__u32 unread[6];
	__be32 src_ip4;
	__be32 src_ip6[4];
	__u32 src_port; /* host order */
	__be16 dst_port; /* 0: not connected */
	__u16 pad;
	__be32 dst_ip4;
	__be32 dst_ip6[4];
};
_Static_assert(__builtin_offsetof(struct bpf_sock, dst_ip6) == 56, "fixed by the kernel");

/* The context of a traffic control program. Only the named fields are read. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* network order in the low 16 bits */
	__u32 unread1[14];
	__u32 data;
	__u32 data_end;
	__u32 unread2[17];
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs; /* packets that a large one stands for; 0 or 1: itself */
	struct bpf_sock *sk;
};
_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "fixed by the kernel");
_Static_assert(__builtin_offsetof(struct __sk_buff, gso_segs) == 164, "fixed by the kernel");
_Static_assert(__builtin_offsetof(struct __sk_buff, sk) == 168, "fixed by the kernel");

enum {
	ETH_HLEN = 14,
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	ETH_P_8021Q = 0x8100,
	ETH_P_8021AD = 0x88a8,
};

enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_AH = 51,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_DSTOPTS = 60,
	IPPROTO_SCTP = 132,
};

struct iphdr {
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};

struct in6 {
	__be32 word[4];
};

struct ipv6hdr {
	__be32 version_class_label;
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	struct in6 saddr;
	struct in6 daddr;
};

/* Linear part of the transport headers that is read. */
struct ports {
	__be16 source;
	__be16 dest;
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

/* Second part: read with CO-RE only. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len;
	__u16 transport_header;
	__u16 network_header;
	__be16 protocol;
	__u32 mark;
	unsigned char *head;
};

/* Numbers differ between kernels: only ever through bpf_core_enum_value. */
enum skb_drop_reason {
	SKB_NOT_DROPPED_YET = 0,
	SKB_CONSUMED = 1,
};

#pragma clang attribute pop
