// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// prove parses the text that will be printed and asks it about every flow that
// it was made of: with the cluster's other policies, and with none of its
// NetworkPolicies, so that a proposal stands by itself.
func (m *maker) prove() error {
	var b strings.Builder
	if err := m.out.write(&b); err != nil {
		return err
	}
	m.out.text = b.String()
	read, err := policy.Parse([]byte(m.out.text), "proposal")
	if err != nil {
		return fmt.Errorf("this is a bug of ours, please report it: the proposal is no valid policy: %w", err)
	}
	if len(read.Policies) != len(m.out.Policies) {
		return errors.New("this is a bug of ours, please report it: the proposal doesn't read as it was written")
	}
	alone, beside := slices.Clone(read.Policies), slices.Clone(read.Policies)
	for _, c := range m.in.Current {
		if m.in.Partly[c] || slices.ContainsFunc(read.Policies, func(p *policy.Policy) bool { return p.Kind == c.Kind && p.Key() == c.Key() }) {
			continue
		}
		beside = append(beside, c)
		if c.Tier != policy.Network {
			alone = append(alone, c)
		}
	}
	asked := []*traffic.Set{m.judge.With(alone), m.judge.With(beside)}
	var denied []string
	for _, s := range m.used {
		for _, set := range asked {
			if m.unprovable(s) {
				continue
			}
			if end := set.Ask(s); end.Verdict == flow.Deny && (len(end.Decision.IsolatedBy) > 0 || !m.in.Denied) {
				denied = append(denied, m.describe(s))
				break
			}
		}
	}
	if len(denied) > 0 {
		slices.Sort(denied)
		return fmt.Errorf("this is a bug of ours, please report it with a recording: the proposal would deny %d of %d flows that it was made of: %s",
			len(denied), len(m.used), traffic.Some(slices.Compact(denied), 5))
	}
	return nil
}

// unprovable are flows that are told of as left out: their peer can't be named.
func (m *maker) unprovable(s *traffic.Seen) bool {
	subject := m.pod(s.Subject())
	if len(m.choose(subject).labels) == 0 {
		return true
	}
	end := s.Peer()
	if s.Direction == flow.Egress && s.Backend != nil {
		end = s.Backend
	}
	if m.pod(end) != nil || end.Service != "" {
		return false
	}
	return m.lost(s, end)
}
