// SPDX-License-Identifier: Apache-2.0

// Package compile turns policies and identities into the numbers of
// pkg/ruleset, one ruleset for each node.
//
//	c := compile.New()
//	out, err := c.Compile(compile.Input{World: world, Policies: policies, Endpoints: ids})
//	r := out.Node("worker-1")          // *ruleset.Ruleset, valid; made when asked for, then kept
//	names := out.Names(r.Sets[0].ID)   // what the set's bits stand for
//
// A [Compiler] lives as long as a session. It hands out set and class
// identifiers by content: equal content has equal identifiers in every
// generation and on every node, and an identifier never changes its meaning.
// So two outputs of one Compiler can be given to ruleset.Diff, and a change of
// one policy costs its own entries.
//
// # What a change costs
//
// A Compiler keeps what it found out about the last generation, and compares
// another input with it: pods, namespaces, services and policies that are the
// same objects, or maps that are the same maps, cost a comparison of pointers.
// From what differs it follows which pods have other sets, which addresses
// other classes, and which entries of a node's tables follow from those; all
// else stays, and is shared ([ruleset.Pages]). The first generation is a change
// from nothing, and so is the one after nodes came, went or got other labels,
// or after a Compile that failed; identifiers stay through that. What a change
// leads to is what a fresh Compiler makes, but for the identifiers: a test
// compares the two.
//
// What a set is: the ordered rules that judge one direction of some pods, with
// all that their meaning depends on: the versions of the policies, the ports
// that names stand for. What a class is: the peers of the node's sets that an
// address matches, with its named ports. Both are pure functions of the input;
// only the numbers depend on the order in which contents were first met.
//
// A set that the previous generation of a node used and this one doesn't stays
// in that node's ruleset for one more generation, with matches for all new
// classes: while a delta is applied, endpoints still point at it.
//
// # Modes
//
// Every version of a policy has bits of its own. Current, Candidate and
// Enforced of [PolicyMode] decide the masks alone, so that a toggle gives the
// same sets with other masks. (Exception: sets in which policies of equal
// priority, or backends of a service, lead to different verdicts; their
// contested readings depend on the modes.)
//
// # Contested
//
// Bits of a match is the reading that enforcement takes, Alt the other one, as
// pkg/policy's evaluator finds them: an ipBlock that covers a pod (case 11), a
// selector that covers a pod on the host network (case 26), a service whose
// backends or addresses are judged differently (cases 12, 22), policies of
// equal priority (case 37).
package compile
