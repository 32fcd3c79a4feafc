// SPDX-License-Identifier: Apache-2.0

package store

import "cmp"

// foldAccounts lets a tenth of the subjects go that have been silent for
// longest. What they sum up to stays: a pod's in one account for those of its
// workload on its node, which in turn goes into one for all.
func (s *Store) foldAccounts() {
	list := make([]keyedAccount, 0, len(s.pods))
	for key, p := range s.pods {
		if key != others {
			list = append(list, keyedAccount{key, p})
		}
	}
	gone := topK(list, max(1, len(list)/10), func(a, b keyedAccount) int {
		return cmp.Or(order(a.flows > 0, b.flows > 0), a.last.Compare(b.last), cmp.Compare(a.key, b.key))
	})
	for _, p := range gone {
		delete(s.pods, p.key)
		s.rest(p.account).take(p.account)
		if !p.folds {
			s.letGo++
		}
	}
}

type keyedAccount struct {
	key string
	*account
}

// rest is the account for what is left of another.
func (s *Store) rest(p *account) *account {
	key, w := others, who{name: others}
	if p.who.workload != "" && !p.folds {
		node := cmp.Or(p.who.node, p.node)
		key = foldedKey(p.who.namespace, p.who.workload, node)
		w = who{namespace: p.who.namespace, workload: p.who.workload, node: node, pod: others}
	}
	to := s.pods[key]
	if to == nil {
		to = &account{who: &w, node: p.node, folds: true}
		s.pods[key] = to
	}
	return to
}

func foldedKey(namespace, workload, node string) string {
	return namespace + "/" + workload + "/" + node
}

// take adds what another account sums up to, which is let go. Rows that still
// refer to it count here from now on.
func (p *account) take(o *account) {
	o.into = p
	p.flows += o.flows
	p.wouldDrop += o.wouldDrop
	p.bytesIn += o.bytesIn
	p.bytesOut += o.bytesOut
	p.allowed += o.allowed
	p.wouldDeny += o.wouldDeny
	p.denied += o.denied
	p.contested += o.contested
	p.dropped += o.dropped
	p.enforced += o.enforced
	p.tickBytes += o.tickBytes
	p.rate += o.rate
	if o.last.After(p.last) {
		p.last = o.last
	}
	o.history = nil
}

// kept is the account, or what it was summed up in.
func (p *account) kept() *account {
	for p.into != nil {
		p = p.into
	}
	return p
}
