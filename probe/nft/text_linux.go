// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
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
