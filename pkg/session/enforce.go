// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// MaxEnforce bounds --for: enforcement is a trial, not a firewall.
const MaxEnforce = 24 * time.Hour

// ErrReadOnly says that the session was started so that it can't enforce.
var ErrReadOnly = errors.New("this session is read-only: start one without --read-only to enforce")

// UnsafeError is why enforcement was refused: it would cut what a cluster
// lives by.
type UnsafeError struct {
	Reasons []string // one sentence each, at most 10
	Cuts    []Cut    // the live connections among them
}

func (e *UnsafeError) Error() string {
	return "refused, because it would cut what the cluster lives by: " + strings.Join(e.Reasons, "; ") + " (--force does it anyway)"
}

// SetMode implements [Controller]. It returns when every live probe judges by
// the new modes.
func (l *Live) SetMode(ctx context.Context, modes map[PolicyKey]Mode) error {
	l.mu.Lock()
	known := map[PolicyKey]bool{}
	for _, c := range l.joined.choices(l.state.Policies, l.candidates, nil, l.cfg.Unchosen) {
		known[c.key] = true
	}
	for k, m := range modes {
		switch {
		case !known[k]:
			l.mu.Unlock()
			return fmt.Errorf("policy %q is not part of this session", nameOf(k))
		case m > Enforced:
			l.mu.Unlock()
			return fmt.Errorf("mode %d of policy %q: use off, dry-run or enforced", m, nameOf(k))
		case m == Enforced && l.cfg.ReadOnly:
			l.mu.Unlock()
			return ErrReadOnly
		}
	}
	enforcing := time.Now().Before(l.until) && !l.forced
	l.mu.Unlock()
	if enforcing {
		// It would bite at once, so it is judged as Enforce is.
		if err := l.safe(modes); err != nil {
			return err
		}
	}
	l.mu.Lock()
	maps.Copy(l.modes, modes)
	l.mu.Unlock()
	return l.apply(ctx)
}

// Draft adds candidates, in place of those with the same keys, and dry-runs
// them: what is enforced under such a key is so no longer. If they can't be
// compiled all is as it was.
func (l *Live) Draft(ctx context.Context, list []*policy.Policy) error {
	l.mu.Lock()
	candidates, modes := l.candidates, maps.Clone(l.modes)
	all := slices.Clone(candidates)
	for _, p := range list {
		key := KeyOf(p)
		all = slices.DeleteFunc(all, func(old *policy.Policy) bool { return KeyOf(old) == key })
		all = append(all, p)
		l.modes[key] = DryRun
	}
	l.candidates = all
	l.mu.Unlock()
	g, err := l.compile()
	if err != nil {
		l.mu.Lock()
		l.candidates, l.modes = candidates, modes
		l.mu.Unlock()
		return err
	}
	return l.reach(ctx, g)
}

// apply compiles at once and waits until it is in effect.
func (l *Live) apply(ctx context.Context) error {
	g, err := l.compile()
	if err != nil {
		return err
	}
	return l.reach(ctx, g)
}

// reach waits until a generation, which changes modes, is in effect.
func (l *Live) reach(ctx context.Context, g uint64) error {
	l.mu.Lock()
	l.enforceAt = g
	l.mu.Unlock()
	return l.await(ctx, func(n *node) (bool, error) {
		if n.failed >= g && g > 0 {
			return false, errors.New(n.lastErr)
		}
		return n.done >= g, nil
	})
}

// Preview lists the open connections that enforcement would cut with these
// modes in place of the present ones.
func (l *Live) Preview(modes map[PolicyKey]Mode) ([]Cut, error) {
	rules, _, err := l.imagine(modes)
	if err != nil {
		return nil, err
	}
	return l.flows.cuts(rules), nil
}

// imagine compiles with other modes, for nobody to apply.
func (l *Live) imagine(modes map[PolicyKey]Mode) (map[string]*ruleset.Pages, *identity.World, error) {
	l.compiling.Lock()
	defer l.compiling.Unlock()
	l.mu.Lock()
	if !l.have {
		l.mu.Unlock()
		return nil, nil, errors.New("the cluster's state isn't known yet: try again in a moment")
	}
	state, nodes, all := l.state, maps.Clone(l.nodes), maps.Clone(l.modes)
	maps.Copy(all, modes)
	list := l.joined.choices(state.Policies, l.candidates, all, l.cfg.Unchosen)
	l.mu.Unlock()
	l.generation++
	out, err := l.dreamer.Compile(l.input(list, state, nil))
	if err != nil {
		return nil, nil, fmt.Errorf("compile the policies: %w", err)
	}
	rules := make(map[string]*ruleset.Pages, len(nodes))
	for name := range nodes {
		rules[name] = out.Node(name)
	}
	return rules, state.World, nil
}

// Enforce implements [Controller].
func (l *Live) Enforce(ctx context.Context, total time.Duration, force bool) error {
	switch {
	case l.cfg.ReadOnly:
		return ErrReadOnly
	case total <= 0 || total > MaxEnforce:
		return fmt.Errorf("enforce for %s: give a time above 0 and up to %s", total, MaxEnforce)
	}
	l.mu.Lock()
	chosen, live := l.cfg.Unchosen == Enforced, false // a policy that bites may come later
	for _, c := range l.joined.choices(l.state.Policies, l.candidates, l.modes, l.cfg.Unchosen) {
		chosen = chosen || c.mode == Enforced
	}
	for _, n := range l.nodes {
		n.mu.Lock()
		live = live || n.live
		n.mu.Unlock()
	}
	l.mu.Unlock()
	if !chosen {
		return errors.New("no policy is in mode enforced: choose which ones shall bite first")
	}
	if !live {
		return errors.New("no probe is live: nothing can be enforced before one is")
	}
	if !force {
		if err := l.safe(nil); err != nil {
			return err
		}
	}
	if err := l.apply(ctx); err != nil { // everyone has the masks before anyone drops
		return err
	}
	l.mu.Lock()
	l.until, l.forced = time.Now().Add(total), force
	l.mu.Unlock()
	time.AfterFunc(total, func() {
		if l.Enforcing() == 0 {
			l.unenforce()
		}
	})
	err := l.awaitLease(ctx, func(active bool, refused string) (bool, error) {
		if refused != "" {
			return false, errors.New(refused)
		}
		return active, nil
	})
	if err != nil && ctx.Err() == nil {
		l.unenforce()
	}
	return err
}

// unenforce ends enforcement: what was enforced is a dry-run again, so that the
// next lease is for what is chosen then and nothing else.
func (l *Live) unenforce() {
	l.mu.Lock()
	l.until = time.Time{}
	for k, m := range l.modes {
		if m == Enforced {
			l.modes[k] = DryRun
		}
	}
	if l.cfg.Unchosen == Enforced {
		l.cfg.Unchosen, l.joined = DryRun, joined{}
	}
	l.mu.Unlock()
	l.wakeAll()
	l.changed()
}

// Release implements [Controller].
func (l *Live) Release(ctx context.Context) error {
	l.mu.Lock()
	was := l.until
	l.until = time.Time{}
	l.mu.Unlock()
	if was.IsZero() {
		return nil
	}
	err := l.awaitLease(ctx, func(active bool, _ string) (bool, error) { return !active, nil })
	l.unenforce()
	return err
}

// awaitLease waits for each live node's next words about its lease.
func (l *Live) awaitLease(ctx context.Context, ok func(active bool, refused string) (bool, error)) error {
	before := map[*node]uint64{}
	l.mu.Lock()
	for _, n := range l.nodes {
		n.mu.Lock()
		before[n] = n.leaseSeq
		n.mu.Unlock()
	}
	l.mu.Unlock()
	l.wakeAll()
	return l.await(ctx, func(n *node) (bool, error) {
		if n.leaseSeq == before[n] {
			return false, nil
		}
		return ok(n.lease.GetActive(), n.lease.GetRefused())
	})
}

func (l *Live) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.nodes {
		n.signal()
	}
}

// leaseFor is what to ask of one node's probe. Rules older than the last
// change of modes don't bite: they are what the user has just changed.
func (l *Live) leaseFor(n *node, now time.Time) (d, total time.Duration) {
	n.mu.Lock()
	done, failed := n.done, n.failed
	n.mu.Unlock()
	l.mu.Lock()
	at := l.enforceAt
	l.mu.Unlock()
	if done < at || failed >= at && failed > 0 {
		return 0, 0
	}
	return l.leaseNow(now)
}

// leaseNow is what to ask of a probe: for how long, and how much is left in all.
func (l *Live) leaseNow(now time.Time) (d, total time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total = l.until.Sub(now)
	if l.until.IsZero() || total <= 0 {
		return 0, 0
	}
	return min(l.cfg.Lease, total), total
}

// Enforcing is how much is left of --for; 0: nothing is enforced.
func (l *Live) Enforcing() time.Duration {
	_, total := l.leaseNow(time.Now())
	return total
}

func nameOf(k PolicyKey) string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}
