// SPDX-License-Identifier: Apache-2.0

// Package weight says how heavy policies are for the network plugin that must
// enforce them, in the terms of the scale tests that plugins are measured by:
// a profile of seven numbers, and what part of the plugin's limit for such
// profiles a policy uses up.
//
//	w := weight.New(world, limits)
//	e := w.Of(p)              // e.Profile prints as "10-1-0-1-5-5-0"
//	sum := w.Sum(policies)    // heaviest first, by namespace and in all
//
// A rule is covered by copies of a profile whose limit is known: enough copies
// to reach its pods, ports, selectors, peer pods and CIDRs. One copy weighs
// 1/limit; of the profiles that can cover the rule the lightest is taken. The
// estimate is safe: below 1 a cluster that meets its limits meets this too;
// above, it may all the same.
//
// Limits depend on plugin, version and hardware. [Illustrative] belongs to no
// cluster: measure your own.
package weight
