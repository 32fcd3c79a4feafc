//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Flows of a pod on the host's network: it has no device of its own, but its
 * sockets are in its cgroup. Nothing of it is judged, because policies don't
 * cover it, and nothing dropped. The maps are those of flow.bpf.c.
 */

#include "lib/track.h"

/* Key: cgroup and hook. Value: whose it is. Made by the kernel when a program
 * is attached to a cgroup. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u32);
} hosts SEC(".maps");

/* seen: a packet of a connection that isn't judged. */
__noinline int seen(struct __sk_buff *skb, const struct tuple *t, __u32 endpoint)
{
	struct conn fresh = {}, *conn;
	bool anew;

	if (!t)
		return 0;
	conn = find(t);
	if (!conn) {
		if (t->opener == OPENER_NONE)
			return 0;
		begin(&fresh, t);
		first(&fresh, skb, t);
		fresh.endpoint = endpoint;
		fresh.flags |= CONN_NOT_JUDGED | CONN_ANNOUNCED;
		if (!insert(t, &fresh)) {
			announce(t, &fresh);
			return 0;
		}
		conn = find(t);
		if (!conn) {
			COUNT(table_full, 1);
			return 0;
		}
	}
	anew = (t->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && closed(conn) && reopened(conn, t);
	if (anew) {
		conn->flags |= CONN_NOT_JUDGED | CONN_ANNOUNCED;
		announce(t, conn);
	}
	if (looked_at(conn, t))
		look(skb, conn, t);
	account(skb, conn, NULL, t->egress, t->tcp_flags, t->headers);
	return 0;
}

/* as_socket names the connection of a packet that leaves as its socket does.
 * The packet has been translated by then, to a service's backend and from the
 * node's port, and the answer, when it is looked at, is back in the socket's
 * terms: they would be two connections, each without an answer. */
static __always_inline void as_socket(struct __sk_buff *skb, struct tuple *t)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk || (t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP))
		return;
	if (!sk->dst_port) {
		/* What a listener answers may have a service's name on it by now:
		 * the packet that came has told. */
		if (t->opener == OPENER_OTHER)
			t->opener = OPENER_NONE;
		return;
	}
	t->local_port = bpf_htons(sk->src_port);
	t->peer_port = sk->dst_port;
	if (t->family == 4) {
		t->local = mapped(sk->src_ip4);
		t->peer = mapped(sk->dst_ip4);
		return;
	}
	t->local = (struct addr){ { sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3] } };
	t->peer = (struct addr){ { sk->dst_ip6[0], sk->dst_ip6[1], sk->dst_ip6[2], sk->dst_ip6[3] } };
}

static __always_inline int of_host(struct __sk_buff *skb, __u32 egress)
{
	__u32 *endpoint = bpf_get_local_storage(&hosts, 0);
	struct tuple t = { .egress = egress };

	if (*endpoint && parse(skb, &t) == PARSED) {
		if (egress)
			as_socket(skb, &t);
		seen(skb, &t, *endpoint);
	}
	return 1; /* 0 would drop it */
}

/* Runs for each packet that a socket of the cgroup, or of one below it, is
 * about to get. */
SEC("cgroup_skb/ingress")
int ebpol_host_in(struct __sk_buff *skb)
{
	return of_host(skb, 0);
}

/* Runs for each packet that such a socket sends. */
SEC("cgroup_skb/egress")
int ebpol_host_out(struct __sk_buff *skb)
{
	return of_host(skb, 1);
}

char _license[] SEC("license") = "Dual BSD/GPL";
