/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * From the rules that match to a verdict: bits of a set, of which the lowest
 * decides.
 */

#include "tuple.h"

static struct match no_match; /* never written; a writable map's pointer is what a global function takes */

/* decision: bit + 1 in the low 16 bits, then whether it denies. */
#define DECISION_DENY 0x10000
#define DECISION_BIT 0xffff

/* lowest: index of the only bit of one, by a de Bruijn sequence: the bits that
 * the product has on top differ for each. BPF has no instruction for it. */
static const __u8 lowest_of[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28,
	62, 5,  39, 46, 44, 42, 22, 9,  24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10,
	51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

static __always_inline __u32 lowest(__u64 one)
{
	return lowest_of[(one * 0x022fdd63cc95386dULL) >> 58];
}

/* below: the bits of word i that are lower than the given one. */
static __always_inline __u64 below(__u32 bit, __u32 i)
{
	if (bit >= 64 * (i + 1))
		return ~0ULL;
	if (bit <= 64 * i)
		return 0;
	return (1ULL << (bit & 63)) - 1;
}

static __always_inline __u32 verdict_of(const struct set *set, __u64 word, __u32 i)
{
	__u64 bit = word & -word;
	__u32 n = 64 * i + lowest(bit) + 1;

	return set->deny.word[i] & bit ? n | DECISION_DENY : n;
}

/* decide: action of the first bit of (matches | always) & mode. */
__noinline __u32 decide(const struct set *set, const struct bitmap *matches, const struct bitmap *mode)
{
	__u64 word, bit;
	__u32 admin;
	int i;

	if (!set || !matches || !mode)
		return 0;
#pragma unroll
	for (i = 0; i < WORDS; i++) {
		word = (matches->word[i] | set->always.word[i]) & mode->word[i];
		if (!word)
			continue;
		bit = word & -word;
		if (set->pass.word[i] & bit & below(set->admin_end, i))
			goto passed;
		return verdict_of(set, word, i);
	}
	return 0;
passed:
	admin = set->admin_end;
#pragma unroll
	for (i = 0; i < WORDS; i++) {
		word = (matches->word[i] | set->always.word[i]) & mode->word[i] & ~below(admin, i);
		if (word)
			return verdict_of(set, word, i);
	}
	return 0;
}

struct question {
	const struct set *set;
	const struct match *match;
	bool has_ports; /* policies define the protocol */
};

static __always_inline bool open_case(const struct question *q, __u32 decision)
{
	__u32 bit = decision & DECISION_BIT;

	return !q->has_ports && (decision & DECISION_DENY) &&
	       bit > q->set->isolate_start && bit <= q->set->baseline_start;
}

static __always_inline __u8 word_of(__u32 decision)
{
	return decision & DECISION_DENY ? VERDICT_DENY : VERDICT_ALLOW;
}

static __always_inline void mode_verdict(const struct question *q, const struct bitmap *mode, bool open, __u8 *verdict,
					 __u8 *alt, __u16 *bit)
{
	__u32 first = decide(q->set, &q->match->bits, mode), second;

	*bit = first & DECISION_BIT;
	*verdict = word_of(first);
	*alt = 0;
	if (open_case(q, first)) {
		*verdict = VERDICT_CONTESTED;
		*alt = VERDICT_DENY;
	} else if (open) {
		*verdict = VERDICT_CONTESTED;
		*alt = first & DECISION_DENY ? VERDICT_ALLOW : VERDICT_DENY;
	} else if (q->match->differ) {
		second = decide(q->set, &q->match->alt, mode);
		if (word_of(second) != *verdict) {
			*verdict = VERDICT_CONTESTED;
			*alt = word_of(second);
		}
	}
}

static __always_inline void allow(struct judgement *j, __u32 set)
{
	__builtin_memset(j, 0, sizeof(*j));
	j->set = set;
	j->verdict = VERDICT_ALLOW;
	j->candidate = VERDICT_ALLOW;
}
