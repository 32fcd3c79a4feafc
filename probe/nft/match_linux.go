// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// metaKeys are what packets carry beside their bytes, in nft's words.
var metaKeys = map[expr.MetaKey]value{
	expr.MetaKeyIIFNAME:  {words: "iifname", format: name},
	expr.MetaKeyOIFNAME:  {words: "oifname", format: name},
	expr.MetaKeyIIF:      {words: "iif", format: hex},
	expr.MetaKeyOIF:      {words: "oif", format: hex},
	expr.MetaKeyL4PROTO:  {words: "meta l4proto", format: protocolName},
	expr.MetaKeyNFPROTO:  {words: "meta nfproto", format: nfproto},
	expr.MetaKeyMARK:     {words: "meta mark", format: hex},
	expr.MetaKeySKUID:    {words: "meta skuid", format: hex},
	expr.MetaKeyPROTOCOL: {words: "meta protocol", format: hex},
	expr.MetaKeyNFTRACE:  {words: "meta nftrace", format: hex},
	expr.MetaKeyPRIORITY: {words: "meta priority", format: hex},
}

func (d *describer) meta(e *expr.Meta) {
	v, ok := metaKeys[e.Key]
	if !ok {
		v = value{words: "meta " + strconv.Itoa(int(e.Key)), format: hex}
	}
	if e.SourceRegister {
		d.say("%s set %s", v.words, d.registers[e.Register].words)
		return
	}
	d.registers[e.Register] = v
}

func (d *describer) payload(e *expr.Payload) value {
	four := d.family == unix.NFPROTO_IPV4 || e.Len == 4
	family := "ip6"
	if four {
		family = "ip"
	}
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		switch {
		case four && e.Offset == 12 && e.Len <= 4, !four && e.Offset == 8:
			return value{words: family + " saddr", format: address}
		case four && e.Offset == 16 && e.Len <= 4, !four && e.Offset == 24:
			return value{words: family + " daddr", format: address}
		case e.Offset == 9 && e.Len == 1 && d.family == unix.NFPROTO_IPV4:
			return value{words: "ip protocol", format: protocolName}
		}
	case expr.PayloadBaseTransportHeader:
		protocol := d.protocol
		if protocol == "" {
			protocol = "th"
		}
		switch {
		case e.Offset == 0 && e.Len == 2:
			return value{words: protocol + " sport", format: decimal}
		case e.Offset == 2 && e.Len == 2:
			return value{words: protocol + " dport", format: decimal}
		case e.Offset == 0 && e.Len == 1:
			return value{words: protocol + " type", format: decimal}
		case e.Offset == 13 && e.Len == 1:
			return value{words: protocol + " flags", format: hex}
		}
	}
	return value{words: fmt.Sprintf("@%s,%d,%d", map[expr.PayloadBase]string{0: "ll", 1: "nh", 2: "th"}[e.Base], e.Offset*8, e.Len*8), format: hex}
}

func (d *describer) ct(e *expr.Ct) {
	what := map[expr.CtKey]string{
		expr.CtKeySTATE: "state", expr.CtKeySTATUS: "status", expr.CtKeyMARK: "mark", expr.CtKeyDIRECTION: "direction", expr.CtKeyZONE: "zone",
	}[e.Key]
	if what == "" {
		what = strconv.Itoa(int(e.Key))
	}
	if e.SourceRegister {
		d.say("ct %s set %s", what, d.registers[e.Register].words)
		return
	}
	d.registers[e.Register] = value{words: "ct " + what, format: hex}
}

// fib is the look-up of an address's kind, as kube-proxy and reverse-path
// rules use it.
func fib(e *expr.Fib) value {
	var of []string
	for _, f := range []struct {
		on   bool
		name string
	}{{e.FlagSADDR, "saddr"}, {e.FlagDADDR, "daddr"}, {e.FlagMARK, "mark"}, {e.FlagIIF, "iif"}, {e.FlagOIF, "oif"}} {
		if f.on {
			of = append(of, f.name)
		}
	}
	result := "oif"
	if e.ResultADDRTYPE {
		result = "type"
	}
	return value{words: "fib " + strings.Join(of, " . ") + " " + result, format: hex}
}

// ctStates are the bits of a ct state, as nft numbers them.
var ctStates = []struct {
	bit  byte
	name string
}{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}}

func (d *describer) compare(v value, op expr.CmpOp, data []byte) {
	sign := map[expr.CmpOp]string{expr.CmpOpNeq: "!= ", expr.CmpOpLt: "< ", expr.CmpOpLte: "<= ", expr.CmpOpGt: "> ", expr.CmpOpGte: ">= "}[op]
	if v.words == "meta l4proto" || v.words == "ip protocol" {
		if op == expr.CmpOpEq {
			d.protocol = protocolName(data)
		}
	}
	switch {
	case v.words == "ct state" && len(v.mask) > 0 && op == expr.CmpOpNeq:
		var states []string
		for _, s := range ctStates {
			if v.mask[0]&s.bit != 0 || len(v.mask) == 4 && v.mask[3]&s.bit != 0 {
				states = append(states, s.name)
			}
		}
		d.say("ct state %s", strings.Join(states, ","))
	case len(v.mask) > 0 && strings.HasSuffix(v.words, "addr"):
		d.say("%s %s%s/%d", v.words, sign, v.write(data), ones(v.mask))
	case len(v.mask) > 0:
		d.say("%s & %s %s%s", v.words, hex(v.mask), orEqual(sign), hex(data))
	case strings.HasSuffix(v.words, "addr") && len(data) < 4: // a prefix of whole bytes, as nft shortens it
		d.say("%s %s%s/%d", v.words, sign, v.write(append(bytes.Clone(data), make([]byte, 4-len(data))...)), 8*len(data))
	default:
		d.say("%s %s%s", v.words, sign, v.write(data))
	}
}

func orEqual(sign string) string {
	if sign == "" {
		return "== "
	}
	return sign
}

func ones(mask []byte) (n int) {
	for _, b := range mask {
		for ; b != 0; b <<= 1 {
			n += int(b >> 7)
		}
	}
	return n
}

func (d *describer) lookup(e *expr.Lookup) {
	v := d.registers[e.SourceRegister]
	set := "@" + e.SetName
	if strings.HasPrefix(e.SetName, "__") {
		set = "{ … }"
	}
	if e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT {
		d.say("%s vmap %s", v.words, set)
		return
	}
	if e.IsDestRegSet {
		d.registers[e.DestRegister] = value{words: v.words + " map " + set, format: hex}
		return
	}
	d.say("%s %s%s", v.words, not(e.Invert), set)
}

// match is one of xtables, which iptables-nft uses for all but the simplest.
func (d *describer) match(e *expr.Match) {
	switch info := e.Info.(type) {
	case *xt.Comment:
		d.comment = strings.TrimRight(string(*info), "\x00")
	case *xt.Unknown:
		if e.Name == "comment" {
			d.comment = text(*info)
			return
		}
		d.say("-m %s", e.Name)
	default:
		d.say("-m %s", e.Name)
	}
}
