// SPDX-License-Identifier: Apache-2.0

// Package corpus is one collection of cases as data, run against every engine:
// the reference, the compiled tables and the kernel. Files are named after the
// cases of the project's table of what implementations get wrong.
//
// A case is a txtar archive:
//
//	Free text: what the case is about.
//	-- world --
//	(YAML, see [worldFile]; without it: cases/base.yaml)
//	-- policies --
//	(YAML as kubectl takes it)
//	-- packets --
//	x/a -> y/b TCP 80: allow
//	x/a -> 10.0.0.9 ICMP: contested 36
//	x/a -> y/b UDP 53: deny, egress allow, ingress deny
//
// Names stand for all their addresses: each line is asked in IPv4 and IPv6.
// Further sections of the same names make a next step; what is left out stays
// as it was.
package corpus
