// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
)

// Cause is what the kernel tells of a drop.
type Cause struct {
	Reason   string // name as in the running kernel's BTF, with or without SKB_DROP_REASON_
	Location string // symbol+offset
	Stack    []string
	Device   string
	Enforced bool // our own lease
}

// Explanation is a cause in words.
type Explanation struct {
	Culprit  string
	Sentence string
	Benign   bool
}

// Explain says who dropped a packet and why. What it doesn't know it calls by
// the kernel's own name and blames nobody.
func (c Cause) Explain() Explanation {
	if c.Enforced {
		return Explanation{
			Culprit:  "this session's lease",
			Sentence: "A policy that you enforce with this session denies it; it is free again when the lease ends.",
		}
	}
	reason := strings.TrimPrefix(c.Reason, "SKB_DROP_REASON_")
	symbol, _, _ := strings.Cut(c.Location, "+")
	for i := range culprits {
		k := &culprits[i]
		if !k.fits(reason) {
			continue
		}
		if k.symbol != "" && !c.at(symbol, k.symbol) {
			continue
		}
		e := k.Explanation
		if c.Device != "" {
			e.Culprit = strings.ReplaceAll(e.Culprit, "DEVICE", c.Device)
			e.Sentence = strings.ReplaceAll(e.Sentence, "DEVICE", c.Device)
		} else {
			e.Culprit = strings.TrimSuffix(e.Culprit, " on DEVICE")
			e.Sentence = strings.ReplaceAll(e.Sentence, " on DEVICE", "")
		}
		return e
	}
	name := reason
	if name == "" || name == "NOT_SPECIFIED" {
		name = "no reason given"
	}
	if symbol != "" {
		name += " at " + symbol
	}
	return Explanation{Culprit: "kernel", Sentence: "The kernel freed the packet: " + name + "."}
}

func (k *culprit) fits(reason string) bool {
	if k.reason == "" {
		return reason == "" || reason == "NOT_SPECIFIED"
	}
	start, any := strings.CutSuffix(k.reason, "*")
	return reason == k.reason || any && strings.HasPrefix(reason, start)
}

// at: the symbol, or one of the callers if the location itself is only the
// function that frees, starts with prefix.
func (c Cause) at(symbol, prefix string) bool {
	prefix, itself := strings.CutPrefix(prefix, "=")
	if strings.HasPrefix(symbol, prefix) || itself {
		return strings.HasPrefix(symbol, prefix)
	}
	for _, f := range c.Stack {
		if strings.HasPrefix(f, prefix) {
			return true
		}
	}
	return false
}
