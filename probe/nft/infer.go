// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Question is a packet that netfilter dropped, and where.
type Question struct {
	Packet
	Flags  byte   // of TCP
	Hook   string // "ingress", "prerouting", "input", "forward", "output", "postrouting" or "egress"
	Bridge bool   // on a bridge's way: chains of the bridge family count, too
	Device string // that it came in on, or is to leave by where it leaves; empty: not known
}

// ErrAmbiguous says that several rules, or none, could have dropped a packet.
var ErrAmbiguous = errors.New("the ruleset leaves open which rule dropped it")

const (
	maxChains    = 20_000
	maxReadRules = 5_000
	maxElements  = 50_000
)

// Infer finds the rule that dropped a packet without having seen it: the only
// one of the ruleset that such a packet can have met and that drops. It is for
// where the kernel's tracing comes too late, or can't be: below the network
// layer, and for the first packet of its kind. The namespace is that of the
// descriptor.
func Infer(netns int, q *Question) (step *Step, rule Rule, err error) {
	defer func() { // the library reads other people's bytes
		if r := recover(); r != nil {
			err = fmt.Errorf("read netfilter's ruleset: %v", r)
		}
	}()
	c, err := nftables.New(nftables.WithNetNSFd(netns), nftables.AsLasting())
	if err != nil {
		return nil, Rule{}, fmt.Errorf("speak with nftables: %w", err)
	}
	defer c.CloseLasting() //nolint:errcheck // only read from
	raw, err := newRules(&netlink.Config{NetNS: netns})
	if err != nil {
		return nil, Rule{}, err
	}
	defer raw.close()
	w := &walk{q: q, conn: c, sets: map[string][]nftables.SetElement{}}
	chains, err := c.ListChains()
	if err != nil || len(chains) > maxChains {
		return nil, Rule{}, errors.Join(err, ErrAmbiguous)
	}
	for _, base := range w.bases(chains, raw) {
		if w.base(base); w.over {
			break
		}
	}
	switch {
	case w.err != nil:
		return nil, Rule{}, w.err
	case len(w.found) != 1:
		return nil, Rule{}, ErrAmbiguous
	}
	f := w.found[0]
	step = &Step{Family: Family(f.chain.Table.Family), Table: f.chain.Table.Name, Chain: f.chain.Name, Ended: true, Packet: q.Packet, Verdict: "drop"}
	if f.rule == nil {
		return step, Rule{Text: "policy drop"}, nil
	}
	step.Handle = f.rule.Handle
	return step, Describe(byte(f.chain.Table.Family), f.rule), nil
}

// hookName is what a base chain is called for; the families number differently.
func hookName(f Family, n uint32) string {
	switch {
	case f == Family(nftables.TableFamilyNetdev) && n == 0:
		return "ingress"
	case f == Family(nftables.TableFamilyNetdev) && n == 1:
		return "egress"
	case int(n) < len(hookNames):
		return hookNames[n]
	}
	return ""
}

// bases are the base chains that the packet meets at its hook, in order.
func (w *walk) bases(chains []*nftables.Chain, raw *rules) (list []*nftables.Chain) {
	own := nftables.TableFamilyIPv6
	if w.q.Source.Is4() {
		own = nftables.TableFamilyIPv4
	}
	for _, c := range chains {
		if c.Hooknum == nil || c.Priority == nil || strings.HasPrefix(c.Table.Name, TablePrefix) || hookName(Family(c.Table.Family), uint32(*c.Hooknum)) != w.q.Hook {
			continue
		}
		switch f := c.Table.Family; {
		case f == own, f == nftables.TableFamilyINet && w.q.Hook != "ingress", f == nftables.TableFamilyBridge && w.q.Bridge:
		case f == nftables.TableFamilyNetdev, f == nftables.TableFamilyINet:
			if on := raw.devices(ruleKey{Family(f), c.Table.Name, c.Name, 0}); w.q.Device != "" && len(on) > 0 && !slices.Contains(on, w.q.Device) {
				continue
			}
		default:
			continue
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b *nftables.Chain) int { return cmp.Compare(*a.Priority, *b.Priority) })
	return list
}

// walk follows a packet through chains. What it can't know of the packet makes
// a rule one that may match.
type walk struct {
	q     *Question
	conn  *nftables.Conn
	sets  map[string][]nftables.SetElement
	read  int // rules so far
	found []dropper
	over  bool // nothing comes after: it was surely dropped
	err   error
}

// dropper is a rule that may have dropped the packet; a nil rule: the policy.
type dropper struct {
	chain *nftables.Chain
	rule  *nftables.Rule
}

// ends says how a chain was left.
type ends int

const (
	goesOn   ends = iota // to what called it
	accepted             // surely
	dropped              // surely
)

func (w *walk) base(c *nftables.Chain) {
	switch w.chain(c, true, 0) {
	case dropped:
		w.over = true
	case goesOn:
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			w.found, w.over = append(w.found, dropper{chain: c}), true
		}
	case accepted:
	}
}

const maxJumps = 16

func (w *walk) chain(c *nftables.Chain, sure bool, depth int) ends {
	if depth > maxJumps || w.err != nil {
		return goesOn
	}
	list, err := w.conn.GetRules(c.Table, c)
	if w.read += len(list); err != nil || w.read > maxReadRules {
		w.err = errors.Join(err, ErrAmbiguous)
		return goesOn
	}
	for _, r := range list {
		for _, v := range w.rule(r) {
			certain := sure && v.sure
			switch v.kind {
			case expr.VerdictDrop:
				w.drops(c, r)
				if certain {
					return dropped
				}
			case expr.VerdictAccept:
				if certain {
					return accepted
				}
			case expr.VerdictReturn:
				if certain {
					return goesOn
				}
			case expr.VerdictJump, expr.VerdictGoto:
				end := w.chain(&nftables.Chain{Table: c.Table, Name: v.chain}, certain, depth+1)
				if certain && (end != goesOn || v.kind == expr.VerdictGoto) {
					return end
				}
			}
		}
	}
	return goesOn
}

// drops notes a rule that may have dropped it, unless its counter says that it
// never did.
func (w *walk) drops(c *nftables.Chain, r *nftables.Rule) {
	for _, e := range r.Exprs {
		if n, ok := e.(*expr.Counter); ok && n.Packets == 0 {
			return
		}
	}
	if !slices.ContainsFunc(w.found, func(d dropper) bool {
		return d.rule != nil && d.rule.Handle == r.Handle && d.chain.Table.Name == c.Table.Name
	}) {
		w.found = append(w.found, dropper{c, r})
	}
}

// devices are those that a base chain hangs on; none: all, or not known.
func (r *rules) devices(k ruleKey) (names []string) {
	answer, err := r.ask(unix.NFT_MSG_GETCHAIN, k.family,
		netlink.Attribute{Type: unix.NFTA_CHAIN_TABLE, Data: []byte(k.table + "\x00")},
		netlink.Attribute{Type: unix.NFTA_CHAIN_NAME, Data: []byte(k.chain + "\x00")})
	if err != nil || len(answer) == 0 || len(answer[0].Data) < 4 {
		return nil
	}
	const devices = 4 // NFTA_HOOK_DEVS
	_ = attributes(answer[0].Data[4:], func(kind uint16, v []byte) {
		if kind != unix.NFTA_CHAIN_HOOK {
			return
		}
		_ = attributes(v, func(kind uint16, v []byte) {
			switch kind {
			case unix.NFTA_HOOK_DEV:
				names = append(names, text(v))
			case devices:
				_ = attributes(v, func(_ uint16, v []byte) { names = append(names, text(v)) })
			}
		})
	})
	return names
}
