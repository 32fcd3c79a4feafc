/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Waking who reads a ring. It costs 6 us, twenty times as much as everything
 * else that a new flow does, so a reader that is at work is not woken: it looks
 * every few milliseconds. Where nothing happens looking costs more than being
 * woken, so it sleeps, and says so before it does.
 */

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* 1: the reader of this object's ring sleeps. It sets it, then looks once more
 * whether something has come; whoever wakes it clears it, so that a burst wakes
 * once. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} asleep SEC(".maps");

/* rouse: how a record is to be submitted. Ask after it was reserved: a reader
 * that falls asleep at this moment sees what is reserved, if it isn't seen here. */
static __always_inline __u64 rouse(void)
{
	__u32 zero = 0;
	volatile __u32 *is = bpf_map_lookup_elem(&asleep, &zero);

	if (!is || !*is)
		return BPF_RB_NO_WAKEUP;
	*is = 0;
	return BPF_RB_FORCE_WAKEUP;
}
