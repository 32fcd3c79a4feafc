/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "endpoints.h"
#include <bpf/bpf_helpers.h>

/*
 * Sizes are defaults: probe.Options may change them before load. Hash tables
 * of the ruleset aren't preallocated: most clusters fill little of them. The
 * connection table is, because a new flow must not wait for memory.
 * It is no LRU: that evicts without a word, and counters would be lost.
 */

/* Key: connection. Value: counters and verdicts. Written by the programs;
 * user space adds what was open before, and deletes what is closed. Most IPv4
 * connections have a seat in seats4 instead. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct conn4_key);
	__type(value, struct conn);
} conns4 SEC(".maps");

/* Key: a hash of the connection's. Value: the connection, if that one was the
 * first there: see conns.h. User space has it in its memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct seat);
} seats4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct conn6_key);
	__type(value, struct conn);
} conns6 SEC(".maps");

/* Key: what fragments of a packet share. Value: ports, from the first one. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct fragment_key);
	__type(value, struct ports);
} fragments SEC(".maps");

/* Key: exact address of a pod, node or single-address block. Value: class. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct peer);
} peers SEC(".maps");

/* Key: prefix. Value: class. Asked only if peers has nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cidr4_key);
	__type(value, struct peer);
} cidrs4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cidr6_key);
	__type(value, struct peer);
} cidrs6 SEC(".maps");

/* Key: service address, protocol, port. Value: class of the backends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

/* Key: set, protocol, port. Value: port class. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, __u32);
} ports SEC(".maps");

/* Key: set, protocol, prefix of the port. Value: port class. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct range_key);
	__type(value, __u32);
} ranges SEC(".maps");

/* Key: set, peer class, port class. Value: the rule bits that match. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct match_key);
	__type(value, struct match);
} matches SEC(".maps");

/* Key: id of a connection. Value: the last error about it. Few connections
 * have one, and what falls out has been told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct icmp_error);
} icmp_errors SEC(".maps");

/* struct event or head, in the order in which each CPU reserved them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");

/* Bumped by user space after each change of the tables above. */
volatile __u32 epoch = 1;

/* How the kernel's count of ticks becomes monotonic time: see coarse. */
volatile __u64 tick_ns;
volatile __u64 tick_zero;

/* Boottime nanoseconds until which enforcement bites. 0: it doesn't. */
volatile __u64 lease_until;

/* Which addresses may be a service's, as bits of a hash: most packets to pods
 * are spared a look-up in services. Bits are only ever added while it lives. */
volatile __u64 service_filter[SERVICE_FILTER_WORDS];

/* 1: the heads of payloads are read. */
volatile __u32 read_heads;

/* How many of them each CPU reads in a second; the rest is counted. */
const volatile __u32 heads_per_second = 2000;

/* How full the ring may be before user space is woken, in bytes. */
const volatile __u32 wake_above = 1 << 18;

/* 1: the device has no link header, packets start with their IP header. */
const volatile __u32 no_link_header;

/* coarse: monotonic time of the last tick. The count of ticks is read in place,
 * where asking for the clock is a call: 20 to 35 ns of each packet, as returns
 * are dear on processors that must not guess where they go. */
static __always_inline __u64 coarse(void)
{
	__u64 each = tick_ns;

	return each ? tick_zero + bpf_jiffies64() * each : bpf_ktime_get_coarse_ns();
}

static __always_inline struct counts *count(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

#define COUNT(field, n) do { struct counts *c_ = count(); if (c_) c_->field += (n); } while (0)
