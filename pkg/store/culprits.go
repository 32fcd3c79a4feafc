// SPDX-License-Identifier: Apache-2.0

package store

// culprit is one line of the table: the first that fits a drop explains it.
type culprit struct {
	reason string // without SKB_DROP_REASON_; a star at the end stands for anything; empty: the kernel gave none, or said so; none: it can't
	symbol string // beginning of the location's or a caller's name; after =: of the location's; empty: any
	Explanation
}

// none is the reason of a kernel that has no reasons at all.
const none = "-"

// culprits is in order: what is more special stands before what is less so.
// Reasons are those of Linux 5.17 to 6.18 (include/net/dropreason-core.h);
// kernels without reasons are explained by the function that freed the packet.
var culprits = []culprit{
	// Somebody's rule.
	{"*", "nfqnl_", Explanation{Culprit: "policy engine in user space (NFQUEUE)", Sentence: "A program that judges queued packets, such as a network policy agent of this cluster, said drop. Compare the policies with kubectl ebpol explain, then read the agent's log."}},
	{"NETFILTER_DROP", "nft_", Explanation{Culprit: "netfilter (nftables)", Sentence: "An nftables rule dropped or rejected it: a network policy of the CNI, kube-proxy, or the host's firewall. Look for it with nft list ruleset on the node."}},
	{"NETFILTER_DROP", "ipt_", Explanation{Culprit: "netfilter (iptables)", Sentence: "An iptables rule dropped or rejected it: a network policy of the CNI, kube-proxy, or the host's firewall. Look for it with iptables-save -c on the node."}},
	{"NETFILTER_DROP", "nf_conntrack", Explanation{Culprit: "connection tracking", Sentence: "Connection tracking refused it: its table is full or the packet fits no connection. Look at conntrack -S on the node."}},
	{"NETFILTER_DROP", "nf_nat", Explanation{Culprit: "address translation", Sentence: "The address translation found no free port or mapping for it. Look at conntrack -L -n on the node for who holds them."}},
	{"NETFILTER_DROP", "synproxy", Explanation{Culprit: "netfilter (SYN proxy)", Sentence: "The SYN proxy of the host's firewall answers in the server's stead.", Benign: true}},
	{"NETFILTER_DROP", "", Explanation{Culprit: "netfilter", Sentence: "Netfilter dropped it outside of nftables' rules: iptables-legacy, connection tracking, or a module's own hook. Look at iptables-legacy-save -c and conntrack -S on the node."}},
	{"", "nft_do_chain", Explanation{Culprit: "netfilter (nftables)", Sentence: "An nftables rule dropped or rejected it: a network policy of the CNI, kube-proxy, or the host's firewall. Look for it with nft list ruleset on the node."}},
	{"", "ipt_do_table", Explanation{Culprit: "netfilter (iptables)", Sentence: "An iptables rule dropped or rejected it: a network policy of the CNI, kube-proxy, or the host's firewall. Look for it with iptables-save -c on the node."}},
	{"", "nf_conntrack", Explanation{Culprit: "connection tracking", Sentence: "Connection tracking refused it: its table is full or the packet fits no connection. Look at conntrack -S on the node."}},
	{"TC_INGRESS", "", Explanation{Culprit: "eBPF program on DEVICE", Sentence: "A tc program on DEVICE dropped it where packets come in: usually the CNI's policy. Ask the CNI's own tool why, or list it with bpftool net on the node."}},
	{"TC_EGRESS", "", Explanation{Culprit: "eBPF program on DEVICE", Sentence: "A tc program on DEVICE dropped it where packets go out: usually the CNI's policy. Ask the CNI's own tool why, or list it with bpftool net on the node."}},
	{"TC_*", "", Explanation{Culprit: "traffic control on DEVICE", Sentence: "Traffic control on DEVICE dropped it. Look at tc -s filter and tc -s qdisc there."}},
	{"XDP", "", Explanation{Culprit: "XDP program on DEVICE", Sentence: "An XDP program on DEVICE dropped it. List it with bpftool net on the node."}},
	{"", "=do_xdp_generic", Explanation{Culprit: "XDP program on DEVICE", Sentence: "An XDP program on DEVICE dropped it. List it with bpftool net on the node."}},
	{"BPF_CGROUP_EGRESS", "", Explanation{Culprit: "eBPF program of a cgroup", Sentence: "A cgroup program refused to let it out: usually a runtime's or the CNI's policy. List it with bpftool cgroup tree on the pod's node."}},
	{"SOCKET_FILTER", "=tcp_v", socketFilter},
	{"SOCKET_FILTER", "=udp", socketFilter},
	{"SOCKET_FILTER", "", Explanation{Culprit: "socket filter", Sentence: "The application's own filter didn't want it.", Benign: true}},
	{"XFRM_POLICY", "", Explanation{Culprit: "IPsec policy", Sentence: "It doesn't fit the node's IPsec policy. Look at ip xfrm policy on both nodes."}},
	{"SECURITY_HOOK", "", Explanation{Culprit: "security module", Sentence: "A Linux security module refused it. Look at the node's audit log."}},

	// Nobody there.
	{"NO_SOCKET", "", Explanation{Culprit: "no socket", Sentence: "Nobody listens on that port: the packet arrived, no policy stopped it. Look whether the application is up, and listens on this port and address."}},
	{"TCP_CLOSE", "", Explanation{Culprit: "closed socket", Sentence: "The connection was already closed.", Benign: true}},
	{"TCP_ABORT_ON_CLOSE", "", Explanation{Culprit: "closed socket", Sentence: "The application closed the connection while data was still coming. Look at its log for why it ended early."}},
	{"TCP_ABORT_*", "", Explanation{Culprit: "application", Sentence: "The application aborted the connection. Look at its log for why."}},
	{"SOCKET_DESTROYED", "", Explanation{Culprit: "closed socket", Sentence: "The socket is gone.", Benign: true}},
	{"SOCKET_CLOSE", "", Explanation{Culprit: "closed socket", Sentence: "The socket was closed with packets still waiting in it.", Benign: true}},

	// The application is too slow.
	{"SOCKET_RCVBUFF", "", Explanation{Culprit: "socket buffer full", Sentence: "The application doesn't read fast enough: its receive buffer is full. Give it CPU, or raise SO_RCVBUF (net.core.rmem_max)."}},
	{"SOCKET_BACKLOG", "", Explanation{Culprit: "socket backlog full", Sentence: "The application doesn't accept or read fast enough: its backlog is full. Give it CPU, or raise its receive buffer."}},
	{"PROTO_MEM", "", Explanation{Culprit: "socket memory", Sentence: "The node's or the pod's socket memory is used up. Raise tcp_mem or udp_mem, or the pod's memory limit."}},
	{"TCP_ZEROWINDOW", "", Explanation{Culprit: "socket buffer full", Sentence: "The receiver's window is closed: the application doesn't read. Look what it waits for."}},
	{"TCP_OVERWINDOW", "", Explanation{Culprit: "TCP window", Sentence: "The data is outside of the window that the receiver announced. Look for a middlebox that changes sequence numbers."}},
	{"TCP_LISTEN_OVERFLOW", "", Explanation{Culprit: "listen queue full", Sentence: "The application doesn't accept fast enough: its listen queue is full. Raise its backlog (net.core.somaxconn) or add replicas."}},

	// The way.
	{"IP_RPFILTER", "", Explanation{Culprit: "reverse-path filter", Sentence: "An answer to that source would not leave by the interface that it came in on. Correct the route to the source on the node, or set rp_filter to 2 on that interface."}},
	{"IP_OUTNOROUTES", "", noRoute},
	{"IP_INADDRERRORS", "", forwardOff},
	{"IP_INNOROUTES", "", Explanation{Culprit: "no route", Sentence: "There is no route for it, or one that forbids it. Ask ip route get on the node."}},
	{"IP_LOCALNET", "", Explanation{Culprit: "martian address", Sentence: "A loopback address on a real interface. Correct the sender, or set route_localnet where that is meant."}},
	{"IP_LOCAL_SOURCE", "", Explanation{Culprit: "martian address", Sentence: "It claims to come from an address of this very host. Look for the same address on two machines."}},
	{"IP_INVALID_*", "", Explanation{Culprit: "martian address", Sentence: "Source or destination is not an address that may be used there. Correct the sender's address."}},
	{"NEIGH_*", "", Explanation{Culprit: "neighbour", Sentence: "The next hop doesn't answer ARP or neighbour discovery: wrong route, or the other end is gone. Look at ip neigh and ip route on the node."}},
	{"HOST_UNREACH", "", Explanation{Culprit: "neighbour", Sentence: "The next hop can't be reached. Look at ip neigh and ip route on the node."}},
	{"", "=__dev_forward_skb", otherEnd},
	{"", "=br_", bridged},
	{"BRIDGE_INGRESS_STP_STATE", "", bridged},
	{"PKT_TOO_BIG", "", Explanation{Culprit: "MTU", Sentence: "It is larger than the MTU of the way out and must not be fragmented. Compare the MTUs of the pod and of the tunnel."}},
	{"", "ip_exceeds_mtu", Explanation{Culprit: "MTU", Sentence: "It is larger than the MTU of the way out and must not be fragmented. Compare the MTUs of the pod and of the tunnel."}},
	{"FRAG_*", "", Explanation{Culprit: "fragments", Sentence: "A fragment was late, too many, or too far: the datagram was not put together. Send smaller datagrams, or look for loss on the way."}},
	{"", "=ip_defrag", notPut},
	{"", "=ip_frag_queue", notPut},
	{"", "=ipv6_frag_rcv", notPut},
	{"IPV6DISABLED", "", Explanation{Culprit: "IPv6 disabled", Sentence: "IPv6 is switched off on the interface it came in on. Set disable_ipv6 to 0 there."}},
	{"IP_MTU", "", Explanation{Culprit: "MTU", Sentence: "It is larger than the MTU of the way out and must not be fragmented. Compare the MTUs of the pod and of the tunnel."}},
	{"TTL_EXCEEDED", "", Explanation{Culprit: "TTL", Sentence: "Its time to live ran out: a routing loop, or traceroute at work. Follow the route with ip route get on each node."}},
	{"QDISC_*", "", Explanation{Culprit: "queue on DEVICE", Sentence: "The queue of the way out is full or shapes traffic. Look at tc -s qdisc, and at the pod's bandwidth annotations."}},
	{"FULL_RING", "", Explanation{Culprit: "ring of DEVICE full", Sentence: "The receiver of the virtual device doesn't keep up. Give its pod or VM more CPU."}},
	{"CPU_BACKLOG", "", Explanation{Culprit: "CPU backlog full", Sentence: "The node's CPUs don't keep up with incoming packets. Raise net.core.netdev_max_backlog, or spread the load."}},
	{"NOMEM", "", Explanation{Culprit: "out of memory", Sentence: "The kernel had no memory for it. Look at the node's memory."}},
	{"DEV_READY", "", Explanation{Culprit: "device down", Sentence: "The interface is not up: a pod that starts or ends. If it lasts, look at ip link."}},

	{"CAKE_*", "", Explanation{Culprit: "queue on DEVICE", Sentence: "The queue of the way out is full or shapes traffic. Look at tc -s qdisc, and at the pod's bandwidth annotations."}},
	{"FQ_*", "", Explanation{Culprit: "queue on DEVICE", Sentence: "The queue of the way out is full or shapes traffic. Look at tc -s qdisc, and at the pod's bandwidth annotations."}},
	{"DUALPI2_*", "", Explanation{Culprit: "queue on DEVICE", Sentence: "The queue of the way out is full or shapes traffic. Look at tc -s qdisc, and at the pod's bandwidth annotations."}},
	{"PFMEMALLOC", "", Explanation{Culprit: "out of memory", Sentence: "The kernel had no memory for it but what it keeps for emergencies. Look at the node's memory."}},
	{"RECURSION_LIMIT", "", Explanation{Culprit: "loop of devices", Sentence: "It went through too many devices in turn: tunnels or redirections that lead to each other. Look at ip -d link and bpftool net on the node."}},
	{"NO_TX_TARGET", "", Explanation{Culprit: "bridge or tunnel", Sentence: "DEVICE knows nobody to send it to. Look at bridge fdb and ip -d link on the node."}},
	{"TUNNEL_TXINFO", "", Explanation{Culprit: "tunnel", Sentence: "DEVICE has no word on which tunnel it should take. Look at ip -d link and the CNI's log on the node."}},
	{"IP_TUNNEL_ECN", "", Explanation{Culprit: "tunnel", Sentence: "The ECN bits of the tunnel's packet and of the one in it contradict each other. Look which device on the way marks them."}},
	{"MAC_*", "", Explanation{Culprit: "hardware address", Sentence: "Its source hardware address is not valid, or it is a control frame. Capture one with tcpdump -e and look at its sender."}},
	{"TAP_*", "", Explanation{Culprit: "TAP filter", Sentence: "The filter of the virtual machine's device DEVICE dropped it. Look at the machine's network settings."}},
	{"DEV_HDR", "", Explanation{Culprit: "device", Sentence: "DEVICE could not make the hardware header. Look at ip -d link on the node."}},
	{"SKB_GSO_SEG", "", Explanation{Culprit: "segmentation", Sentence: "A large packet could not be cut into small ones for DEVICE. Try ethtool -K gso off there."}},
	{"SKB_BAD_GSO", "", Explanation{Culprit: "segmentation", Sentence: "A large packet says how to cut it into small ones, and that can't be done for DEVICE. Look who made it: a virtual machine, a tunnel, or a capture that is played back. Try ethtool -K gso off there."}},
	{"SKB_UCOPY_FAULT", "", Explanation{Culprit: "out of memory", Sentence: "The kernel could not copy its data. Look at the node's memory."}},
	{"INVALID_PROTO", "", Explanation{Culprit: "malformed", Sentence: "Its protocol doesn't fit where it came in. Capture one with tcpdump and look at its sender."}},
	{"PSP_*", "", Explanation{Culprit: "PSP encryption", Sentence: "It is encrypted by PSP and should not be, or the reverse. Look at the settings of both applications."}},
	{"CAN*", "", Explanation{Culprit: "housekeeping", Sentence: "A broken frame of a CAN bus.", Benign: true}},
	{"UNIX_*", "", Explanation{Culprit: "housekeeping", Sentence: "The kernel is done with a message between processes.", Benign: true}},
	{"PACKET_SOCK_ERROR", "", Explanation{Culprit: "housekeeping", Sentence: "A capture could not keep up: the packet itself went on.", Benign: true}},

	// Kernels without reasons: the function that freed it says as much as there is.
	{"", "nf_hook_slow", Explanation{Culprit: "netfilter", Sentence: "A netfilter rule or hook dropped it: a network policy of the CNI, kube-proxy, or the host's firewall. Look at nft list ruleset and iptables-save -c on the node."}},
	{"", "ip_rcv_finish_core", Explanation{Culprit: "routing of what comes in", Sentence: "The node found no way for it: no route, the reverse-path filter, or an IP option such as a source route. Ask ip route get on the node, and look at rp_filter."}},
	{"", "ip_error", Explanation{Culprit: "no route", Sentence: "There is no route for it, or one that forbids it. Ask ip route get on the node."}},
	{"", "=__ip_queue_xmit", noRoute},
	{"", "=inet6_csk_xmit", noRoute},
	{"", "ip6_pkt_drop", Explanation{Culprit: "no route", Sentence: "There is no route for it, or one that forbids it. Ask ip -6 route get on the node."}},
	{"", "=neigh_", Explanation{Culprit: "neighbour", Sentence: "The next hop doesn't answer ARP or neighbour discovery: wrong route, or the other end is gone. Look at ip neigh and ip route on the node."}},
	{"", "=ndisc_error_report", Explanation{Culprit: "neighbour", Sentence: "The next hop doesn't answer neighbour discovery: wrong route, or the other end is gone. Look at ip -6 neigh and ip -6 route on the node."}},
	{"", "=arp_error_report", Explanation{Culprit: "neighbour", Sentence: "The next hop doesn't answer ARP: wrong route, or the other end is gone. Look at ip neigh and ip route on the node."}},
	{"", "=ip_forward", Explanation{Culprit: "forwarding", Sentence: "The node would not forward it: its time to live ran out, or it is larger than the MTU of the way out. Compare MTUs, and ask ip route get."}},
	{"", "=ip6_forward", Explanation{Culprit: "forwarding", Sentence: "The node would not forward it: its hop limit ran out, or it is larger than the MTU of the way out. Compare MTUs, and ask ip -6 route get."}},
	{"", "=__udp4_lib_rcv", Explanation{Culprit: "no socket", Sentence: "Nobody listens on that port: the packet arrived, no policy stopped it. Look whether the application is up, and listens on this port and address."}},
	{"", "=__udp6_lib_rcv", Explanation{Culprit: "no socket", Sentence: "Nobody listens on that port: the packet arrived, no policy stopped it. Look whether the application is up, and listens on this port and address."}},
	{"", "udp_queue_rcv", Explanation{Culprit: "socket buffer full", Sentence: "The application doesn't read fast enough: its receive buffer is full. Give it CPU, or raise SO_RCVBUF (net.core.rmem_max)."}},
	{"", "=__netif_receive_skb_core", Explanation{Culprit: "eBPF program on DEVICE", Sentence: "A program on DEVICE dropped it where packets come in: usually the CNI's policy. List it with bpftool net on the node."}},
	{"", "=__dev_queue_xmit", Explanation{Culprit: "traffic control on DEVICE", Sentence: "A program or queue on DEVICE dropped it where packets go out. Look at tc -s filter and tc -s qdisc there."}},
	{"*", "=dst_discard", Explanation{Culprit: "blackhole route", Sentence: "The route to the destination is a blackhole. Look at ip route get in the pod and on the node, and remove it."}},

	// Broken packets.
	{"TCP_CSUM", "", Explanation{Culprit: "checksum", Sentence: "The TCP checksum is wrong: broken on the way, or offloading that a tunnel or VM doesn't do. Try ethtool -K tx off on the sender's side."}},
	{"UDP_CSUM", "", Explanation{Culprit: "checksum", Sentence: "The UDP checksum is wrong: broken on the way, or offloading that a tunnel or VM doesn't do. Try ethtool -K tx off on the sender's side."}},
	{"IP_CSUM", "", Explanation{Culprit: "checksum", Sentence: "The IP checksum is wrong: broken on the way. Look at the counters of ethtool -S."}},
	{"ICMP_CSUM", "", Explanation{Culprit: "checksum", Sentence: "The ICMP checksum is wrong: broken on the way. Look at the counters of ethtool -S."}},
	{"SKB_CSUM", "", Explanation{Culprit: "checksum", Sentence: "The checksum is wrong: broken on the way. Look at the counters of ethtool -S."}},
	{"IP_INHDR", "=ip_forward", ttl},
	{"IP_INHDR", "=ip6_forward", ttl},
	{"IP_INHDR", "ip_rcv_", Explanation{Culprit: "IP options", Sentence: "Its IP options are broken, or a source route that the node doesn't take. Send it without."}},
	{"IPV6_BAD_EXTHDR", "", extension},
	{"UNHANDLED_PROTO", "=ip6_tlvopt", extension},
	{"", "=ipv6_rthdr_rcv", extension},
	{"", "=ipv6_destopt_rcv", extension},
	{"", "=ip6_parse_tlv", extension},
	{"IP_INHDR", "", Explanation{Culprit: "malformed", Sentence: "The IP header is not valid. Capture one with tcpdump and look at its sender."}},
	{"PKT_TOO_SMALL", "", Explanation{Culprit: "malformed", Sentence: "The packet is shorter than its headers say. Capture one with tcpdump and look at its sender."}},
	{"HDR_TRUNC", "", Explanation{Culprit: "malformed", Sentence: "The packet is shorter than its headers say. Capture one with tcpdump and look at its sender."}},
	{"UNHANDLED_PROTO", "", Explanation{Culprit: "unknown protocol", Sentence: "Nothing on the host handles that protocol.", Benign: true}},
	{"IP_NOPROTO", "", Explanation{Culprit: "unknown protocol", Sentence: "Nothing on the host handles that protocol. Load its module, or correct the sender."}},
	{"TCP_MD5*", "", signature},
	{"TCP_AO*", "", signature},
	{"TCP_AUTH_HDR", "", signature},
	{"TCP_MINTTL", "", Explanation{Culprit: "TTL", Sentence: "Its TTL is below what the application asked for. Look for more hops than expected."}},

	// TCP's own housekeeping.
	{"TCP_OLD_DATA", "", benignTCP},
	{"TCP_OFOMERGE", "", benignTCP},
	{"TCP_OFO_*", "", benignTCP},
	{"TCP_OFO*", "", benignTCP},
	{"TCP_OLD_*", "", benignTCP},
	{"TCP_TOO_OLD_ACK", "", benignTCP},
	{"TCP_RFC7323_*", "", benignTCP},
	{"TCP_FASTOPEN", "", benignTCP},
	{"TCP_RESET", "", Explanation{Culprit: "TCP", Sentence: "The other end reset the connection.", Benign: true}},
	{"TCP_FLAGS", "", benignTCP},
	{"TCP_INVALID_*", "", Explanation{Culprit: "TCP", Sentence: "Its numbers don't fit the connection: an old packet, or a middlebox that lost its state. Look at conntrack -S on the node."}},
	{"TCP_ACK_UNSENT_DATA", "", Explanation{Culprit: "TCP", Sentence: "It acknowledges what was never sent: another connection's leftover, or a middlebox. Look at conntrack -S on the node."}},
	{"TCP_*", "", Explanation{Culprit: "TCP", Sentence: "TCP discarded it. Look at nstat -az TcpExt* in the pod."}},

	// Ordinary life.
	{"OTHERHOST", "", Explanation{Culprit: "not for this host", Sentence: "A bridge or switch delivered it to everyone.", Benign: true}},
	{"UNICAST_IN_L2_MULTICAST", "", Explanation{Culprit: "not for this host", Sentence: "A unicast packet in a multicast frame.", Benign: true}},
	{"IPV6_NDISC_*", "", Explanation{Culprit: "neighbour discovery", Sentence: "Neighbour discovery ignored it.", Benign: true}},
	{"IGMP_*", "", benignNoise},
	{"ARP_*", "", benignNoise},
	{"DUP_FRAG", "", benignNoise},
	{"QUEUE_PURGE", "", Explanation{Culprit: "queue emptied", Sentence: "A socket or device went away with packets still queued.", Benign: true}},
	{"NETNS_*", "", Explanation{Culprit: "namespace gone", Sentence: "The pod's network namespace was taken down.", Benign: true}},
	{"VXLAN_*", "", Explanation{Culprit: "VXLAN", Sentence: "The tunnel refused it: wrong VNI, no remote, or an entry not learned. Look at bridge fdb and ip -d link on both nodes."}},
	{"LOCAL_MAC", "", Explanation{Culprit: "tunnel", Sentence: "Its source MAC is the tunnel's own: a loop. Look at bridge fdb on the nodes."}},
	{"ARP_PVLAN_DISABLE", "", benignNoise},
	{none, "=tcp_v4_rcv", unwantedTCP},
	{none, "=tcp_v6_rcv", unwantedTCP},
	{"", "=tcp_v4_rcv", benignTCP}, // the last packets of a connection that is in TIME-WAIT
	{"", "=tcp_v6_rcv", benignTCP},
	{"*", "unix_", benignNoise},
	{"*", "netlink_", benignNoise},
	{"*", "packet_rcv", benignNoise},
	{"", "icmpv6_rcv", benignNoise},
	{"", "igmp_rcv", benignNoise},
	{"", "icmp_rcv", benignNoise},
	{"", "arp_", benignNoise},
	{"", "ndisc_", benignNoise},
}

var (
	socketFilter = Explanation{Culprit: "socket filter", Sentence: "A filter on the socket didn't want it: one of the application's own, or an eBPF program of its cgroup. Look at ss -b in the pod, and bpftool cgroup tree on the pod's node."}
	forwardOff   = Explanation{Culprit: "forwarding off", Sentence: "The address isn't one of this network namespace, which doesn't forward either. Look whether the address has gone (ip addr), and at net.ipv4.ip_forward and net.ipv6.conf.all.forwarding on the node."}
	signature    = Explanation{Culprit: "TCP signature", Sentence: "Its TCP signature (MD5 or AO) is missing, not expected or wrong. Give both applications the same key."}
	extension    = Explanation{Culprit: "IP options", Sentence: "An IPv6 extension header or option of it is broken, or one that this host doesn't take. Send it without."}
	notPut       = Explanation{Culprit: "fragments", Sentence: "A fragment doesn't fit the others: the datagram was not put together. Send smaller datagrams, and look who sends overlapping fragments."}
	otherEnd     = Explanation{Culprit: "MTU", Sentence: "The other end of DEVICE didn't take it: it is larger than the MTU there, or that end is down. Compare the MTUs of both ends, with ip link in the pod and on the node."}
	bridged      = Explanation{Culprit: "bridge", Sentence: "The bridge had no way on for it: a port that is down or blocked, or a smaller MTU there. Look at bridge link and ip link on the node."}
	noRoute      = Explanation{Culprit: "no route", Sentence: "There is no route to the destination. Look at ip route in the pod and on the node."}
	ttl          = Explanation{Culprit: "TTL", Sentence: "Its time to live ran out: a routing loop, or traceroute at work. Follow the route with ip route get on each node."}
	unwantedTCP  = Explanation{Culprit: "TCP", Sentence: "TCP had no use for it: nobody listens on that port, or the connection is over; this kernel doesn't say which. Whether a reset came back tells.", Benign: true}
	benignTCP    = Explanation{Culprit: "TCP housekeeping", Sentence: "A duplicate or out-of-date segment, as any network has.", Benign: true}
	benignNoise  = Explanation{Culprit: "housekeeping", Sentence: "The kernel is done with a packet of its own protocols.", Benign: true}
)
