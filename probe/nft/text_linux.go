// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// maxText bounds a rule's text and its comment, in bytes.
const maxText = 300

// Describe writes a rule in nft's words. What it doesn't know stands there by
// the name of its type.
func Describe(fam byte, r *nftables.Rule) Rule {
	d := describer{family: fam, registers: map[uint32]value{}}
	for _, e := range r.Exprs {
		d.expression(e)
	}
	if c := comment(r.UserData); c != "" {
		d.comment = c
	}
	return Rule{Comment: cut(d.comment), Text: cut(strings.Join(d.words, " "))}
}

// comment is what nft keeps beside a rule. The library panics over a broken one.
func comment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		kind, v := userdata.Type(b[0]), b[2:2+int(b[1])]
		if kind == userdata.TypeComment {
			return text(v)
		}
		b = b[2+len(v):]
	}
	return ""
}

func cut(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}

// value is what a register holds: in words, and how to write what it is
// compared with.
type value struct {
	words  string
	format func([]byte) string
	mask   []byte // of a bitwise
	data   []byte // of an immediate
}

type describer struct {
	family    byte
	protocol  string // "tcp", "udp", from the rule's own match
	registers map[uint32]value
	words     []string
	comment   string
}

func (d *describer) say(format string, args ...any) {
	d.words = append(d.words, fmt.Sprintf(format, args...))
}

func (d *describer) expression(e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		d.meta(e)
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			d.registers[e.DestRegister] = d.payload(e)
		}
	case *expr.Ct:
		d.ct(e)
	case *expr.Fib:
		d.registers[e.Register] = fib(e)
	case *expr.Bitwise:
		v := d.registers[e.SourceRegister]
		v.mask = e.Mask
		d.registers[e.DestRegister] = v
	case *expr.Immediate:
		d.registers[e.Register] = value{words: hex(e.Data), data: e.Data}
	case *expr.Numgen:
		d.registers[e.Register] = value{words: fmt.Sprintf("numgen mod %d", e.Modulus), format: hex}
	case *expr.Cmp:
		d.compare(d.registers[e.Register], e.Op, e.Data)
	case *expr.Range:
		v := d.registers[e.Register]
		d.say("%s %s%s-%s", v.words, not(e.Op == expr.CmpOpNeq), v.write(e.FromData), v.write(e.ToData))
	case *expr.Lookup:
		d.lookup(e)
	case *expr.Verdict:
		d.say("%s", verdictName(int32(e.Kind), e.Chain))
	case *expr.Reject:
		d.say("reject")
	case *expr.Queue:
		d.say("queue to %d", e.Num)
	case *expr.Limit:
		d.say("limit rate %s%d/%s", over(e.Over), e.Rate, units[e.Unit])
	case *expr.Match:
		d.match(e)
	case *expr.Target:
		d.say("%s", e.Name)
	case *expr.Masq:
		d.say("masquerade")
	case *expr.NAT:
		d.say("%s", map[expr.NATType]string{expr.NATTypeSourceNAT: "snat", expr.NATTypeDestNAT: "dnat"}[e.Type])
	case *expr.Redir:
		d.say("redirect")
	case *expr.Log:
		d.say("log")
	case *expr.Counter: // says nothing of what matches
	default:
		name := fmt.Sprintf("%T", e)
		d.say("%s", strings.ToLower(name[strings.LastIndexByte(name, '.')+1:]))
	}
}

var units = map[expr.LimitTime]string{
	expr.LimitTimeSecond: "second", expr.LimitTimeMinute: "minute", expr.LimitTimeHour: "hour", expr.LimitTimeDay: "day", expr.LimitTimeWeek: "week",
}

func over(yes bool) string {
	if yes {
		return "over "
	}
	return ""
}

func not(yes bool) string {
	if yes {
		return "!= "
	}
	return ""
}

func (v value) write(b []byte) string {
	if v.format == nil {
		return hex(b)
	}
	return v.format(b)
}

func hex(b []byte) string { return fmt.Sprintf("%#x", b) }

func name(b []byte) string {
	s := text(b)
	if len(s) == len(b) {
		s += "*" // without its end: what begins so
	}
	return strconv.Quote(s)
}

func protocolName(b []byte) string {
	switch {
	case len(b) != 1:
		return hex(b)
	case b[0] == unix.IPPROTO_TCP:
		return "tcp"
	case b[0] == unix.IPPROTO_UDP:
		return "udp"
	case b[0] == unix.IPPROTO_SCTP:
		return "sctp"
	case b[0] == unix.IPPROTO_ICMP:
		return "icmp"
	case b[0] == unix.IPPROTO_ICMPV6:
		return "ipv6-icmp"
	}
	return strconv.Itoa(int(b[0]))
}

func nfproto(b []byte) string {
	switch {
	case len(b) == 1 && b[0] == unix.NFPROTO_IPV4:
		return "ipv4"
	case len(b) == 1 && b[0] == unix.NFPROTO_IPV6:
		return "ipv6"
	}
	return hex(b)
}

func address(b []byte) string {
	if ip, ok := netip.AddrFromSlice(b); ok {
		return ip.String()
	}
	return hex(b)
}

func decimal(b []byte) string {
	n := uint64(0)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return strconv.FormatUint(n, 10)
}

func (d *describer) meta(e *expr.Meta) {
	if e.SourceRegister {
		what := map[expr.MetaKey]string{expr.MetaKeyMARK: "mark", expr.MetaKeyNFTRACE: "nftrace", expr.MetaKeyPRIORITY: "priority"}[e.Key]
		if what == "" {
			what = strconv.Itoa(int(e.Key))
		}
		d.say("meta %s set %s", what, d.registers[e.Register].words)
		return
	}
	v := value{words: "meta " + strconv.Itoa(int(e.Key)), format: hex}
	switch e.Key {
	case expr.MetaKeyIIFNAME:
		v = value{words: "iifname", format: name}
	case expr.MetaKeyOIFNAME:
		v = value{words: "oifname", format: name}
	case expr.MetaKeyIIF:
		v = value{words: "iif", format: hex}
	case expr.MetaKeyOIF:
		v = value{words: "oif", format: hex}
	case expr.MetaKeyL4PROTO:
		v = value{words: "meta l4proto", format: protocolName}
	case expr.MetaKeyNFPROTO:
		v = value{words: "meta nfproto", format: nfproto}
	case expr.MetaKeyMARK:
		v = value{words: "meta mark", format: hex}
	case expr.MetaKeySKUID:
		v = value{words: "meta skuid", format: hex}
	case expr.MetaKeyPROTOCOL:
		v = value{words: "meta protocol", format: hex}
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
