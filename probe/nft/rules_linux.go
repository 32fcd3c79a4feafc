// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rule is a rule in words.
type Rule struct {
	Comment string // as its author left it
	Text    string // in nft's words, as far as we can read it
}

// rules asks for single rules, and remembers them as long as the ruleset is
// the same: a handle means nothing once its table was made again.
type rules struct {
	mu         sync.Mutex
	conn       *netlink.Conn
	generation uint32
	asked      time.Time // when the generation was
	known      map[ruleKey]Rule
	hooks      map[ruleKey]string
}

type ruleKey struct {
	family       Family
	table, chain string
	handle       uint64
}

const (
	freshFor  = 250 * time.Millisecond
	maxKnown  = 4096
	askWithin = time.Second
)

func newRules(config *netlink.Config) (*rules, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return nil, err
	}
	return &rules{conn: c, known: map[ruleKey]Rule{}, hooks: map[ruleKey]string{}}, nil
}

func (r *rules) close() error { return r.conn.Close() }

func (r *rules) find(s *Step) Rule {
	if s.Handle == 0 {
		return Rule{Text: "policy " + s.Verdict}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renew()
	k := ruleKey{s.Family, s.Table, s.Chain, s.Handle}
	found, ok := r.known[k]
	if !ok {
		found = r.read(k)
		r.known[k] = found
	}
	return found
}

// renew forgets what is known if the ruleset has changed since.
func (r *rules) renew() {
	if time.Since(r.asked) < freshFor && len(r.known) < maxKnown {
		return
	}
	r.asked = time.Now()
	answer, err := r.ask(unix.NFT_MSG_GETGEN, 0)
	if err != nil || len(answer) == 0 || len(answer[0].Data) < 4 {
		return
	}
	var now uint32
	_ = attributes(answer[0].Data[4:], func(kind uint16, v []byte) {
		if kind == unix.NFTA_GEN_ID {
			now = number(v)
		}
	})
	if now != r.generation || len(r.known) >= maxKnown {
		clear(r.known)
		clear(r.hooks)
	}
	r.generation = now
}

func (r *rules) ask(what int, family Family, attrs ...netlink.Attribute) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	if err := r.conn.SetDeadline(time.Now().Add(askWithin)); err != nil {
		return nil, err
	}
	return r.conn.Execute(netlink.Message{Header: netlink.Header{Type: kind(what), Flags: netlink.Request}, Data: append(header(uint8(family), 0), data...)})
}

// read asks for one rule; the zero Rule if it has gone.
func (r *rules) read(k ruleKey) Rule {
	answer, err := r.ask(unix.NFT_MSG_GETRULE, k.family,
		netlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: []byte(k.table + "\x00")},
		netlink.Attribute{Type: unix.NFTA_RULE_CHAIN, Data: []byte(k.chain + "\x00")},
		netlink.Attribute{Type: unix.NFTA_RULE_HANDLE, Data: binary.BigEndian.AppendUint64(nil, k.handle)})
	if err != nil || len(answer) == 0 {
		return Rule{}
	}
	decoded, err := decode(k, answer[0])
	if err != nil {
		return Rule{}
	}
	return Describe(byte(k.family), decoded)
}

var errNoRule = errors.New("the kernel named no rule")

// decode lets the library read a message that we have asked for ourselves: it
// can only list whole chains, of which kube-proxy has some with thousands of
// rules.
func decode(k ruleKey, m netlink.Message) (*nftables.Rule, error) {
	c, err := nftables.New(nftables.WithTestDial(func(request []netlink.Message) ([]netlink.Message, error) {
		if len(request) > 0 {
			m.Header.Sequence, m.Header.PID = request[0].Header.Sequence, request[0].Header.PID
		}
		m.Header.Flags = 0
		return []netlink.Message{m}, nil
	}))
	if err != nil {
		return nil, err
	}
	table := &nftables.Table{Name: k.table, Family: nftables.TableFamily(k.family)}
	list, err := c.GetRules(table, &nftables.Chain{Name: k.chain, Table: table})
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, errNoRule
	}
	return list[0], nil
}

var hookNames = [...]string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}

func (r *rules) hook(s *Step) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renew()
	k := ruleKey{s.Family, s.Table, s.Chain, 0}
	name, ok := r.hooks[k]
	if !ok {
		name = r.readHook(k)
		r.hooks[k] = name
	}
	return name
}

func (r *rules) readHook(k ruleKey) (name string) {
	answer, err := r.ask(unix.NFT_MSG_GETCHAIN, k.family,
		netlink.Attribute{Type: unix.NFTA_CHAIN_TABLE, Data: []byte(k.table + "\x00")},
		netlink.Attribute{Type: unix.NFTA_CHAIN_NAME, Data: []byte(k.chain + "\x00")})
	if err != nil || len(answer) == 0 || len(answer[0].Data) < 4 {
		return ""
	}
	_ = attributes(answer[0].Data[4:], func(kind uint16, v []byte) {
		if kind != unix.NFTA_CHAIN_HOOK {
			return
		}
		_ = attributes(v, func(kind uint16, v []byte) {
			if kind == unix.NFTA_HOOK_HOOKNUM {
				name = hookName(k.family, number(v))
			}
		})
	})
	return name
}
