// SPDX-License-Identifier: Apache-2.0

// Package flow holds the nouns of this program and nothing else: what a
// connection, a verdict and a drop are called, everywhere, from the kernel
// program to the screen. It imports nothing of ours, so that every other
// package may import it.
//
// The glossary, one word per thing:
//
//	endpoint     a local pod address that a probe watches, seen from inside the pod's network namespace
//	subject      the end of a flow that is being judged: its source (egress) or its destination (ingress)
//	peer         the other end of the flow, seen from the subject
//	rule         one ingress or egress entry of one policy; Index counts from 0 in the policy's own list
//	isolated     selected by at least one policy for a direction, so that what no rule allows is denied
//	verdict      what a set of policies says about a flow: allow, deny or contested
//	contested    the specification lets implementations differ; Readings says what each reading answers
//	current      the policies that the cluster has now
//	candidate    the policies that the user is thinking of: current plus, minus or changed by a dry-run
//	observed     what happened to the packets, whatever any policy says
//	drop reason  the kernel's name for why it freed a packet, read from the running kernel's BTF
//	lease        the time until which enforcement bites; checked in the kernel, renewed by heartbeats
package flow
