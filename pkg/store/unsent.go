// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strings"
)

// unsentReason is the reason of what a process wanted to send and no packet was
// made for: its connect() or sendmsg() failed inside the pod.
const unsentReason = "EBPOL_UNSENT"

// evidenceUnsent is followed by the cause, and by the process's number and name
// if they are known.
const evidenceUnsent = "unsent"

// unsentCauses are what the probe finds out about them.
var unsentCauses = map[string]Explanation{
	"program":           {Culprit: "eBPF program of a cgroup", Sentence: "A cgroup program refused connect(), so the process gets EPERM and no packet is made: usually a runtime's or the CNI's policy. List it with bpftool cgroup tree on the pod's node.", policy: true},
	"likely-program":    {Culprit: "eBPF program of a cgroup, most likely", Sentence: "connect() failed before a packet was made, though the pod has a route and an address; programs hang on its cgroup that may refuse it, which is inferred. List them with bpftool cgroup tree on the pod's node.", policy: true},
	"ports":             {Culprit: "no free port", Sentence: "All local ports towards that destination are in use, so no packet is made. Look who holds them with ss -tan, let the application reuse its connections, or widen net.ipv4.ip_local_port_range."},
	"size":              {Culprit: "MTU", Sentence: "It is larger than the MTU of the pod's own interface or of the path, and must not be fragmented, so no packet is made. Send smaller datagrams, or compare the MTUs of the pod and of the tunnel."},
	"address":           {Culprit: "no source address", Sentence: "The pod has no address that it could send from, so no packet is made. Look at ip addr in the pod and on the node, and at the CNI's log."},
	"family":            {Culprit: "no IPv6 in the pod", Sentence: "The pod has no IPv6 address, so what it tries over IPv6 fails at once; most applications then take IPv4.", Benign: true},
	"route-none":        {Culprit: "no route", Sentence: "The pod has no route to the destination, so no packet is made. Look at ip route in the pod and on the node."},
	"route-blackhole":   {Culprit: "blackhole route", Sentence: "The pod's route to the destination is of type blackhole, so no packet is made. Look at ip route show type blackhole in the pod and on the node, and at ip rule, and remove it."},
	"route-unreachable": {Culprit: "unreachable route", Sentence: "The pod's route to the destination is of type unreachable, so no packet is made. Look at ip route show type unreachable in the pod and on the node, and at ip rule, and remove it."},
	"route-prohibit":    {Culprit: "prohibit route", Sentence: "The pod's route to the destination, or a rule before it, is of type prohibit, so no packet is made. Look at ip route show type prohibit in the pod and on the node, and at ip rule, and remove it."},
	"unknown":           {Culprit: "not known", Sentence: "The system call failed inside the pod before a packet was made, and the kernel doesn't tell why: its route and addresses are there. Ask strace -f -e trace=network on the process."},
}

// byUnsent explains what never became a packet.
func (c *Cause) byUnsent() (Explanation, bool) {
	words := strings.SplitN(c.Evidence, " ", 4)
	if c.Reason != unsentReason || len(words) < 2 || words[0] != evidenceUnsent {
		return Explanation{}, false
	}
	e, ok := unsentCauses[words[1]]
	if !ok {
		e = unsentCauses["unknown"]
	}
	if len(words) == 4 {
		e.Sentence = fmt.Sprintf("%s (pid %s) tried in vain. ", words[3], words[2]) + e.Sentence
	}
	c.byPrograms(&e)
	return e, true
}
