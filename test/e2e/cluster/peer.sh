#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs an enforcer of network policies that nobody here wrote, as a process of
# every node: sigs.k8s.io/kube-network-policies, verdicts in user space.
#   peer.sh start | stop     stop takes its rules away
#   peer.sh kill NODE        as kill -9 does; what is queued then is dropped
#   peer.sh revive NODE
set -euo pipefail
. "$(dirname "$0")/lib.sh"
is_up || die "no cluster is running; boot one with 'make cluster-up'"

# Kernels without CONFIG_NFT_QUEUE refuse the rules that it makes itself, but
# have xtables' NFQUEUE: these hand it the same packets. A pod's way to its own
# node is not among them.
queue_rules() { # NODE
	local x cidr
	for cidr in ${pod_cidr//,/ }; do
		case $cidr in *:*) x="ip6tables -t mangle" ;; *) x="iptables -t mangle" ;; esac
		node_exec "$1" sh -c "
			$x -N EBPOL-QUEUE && {
				$x -A POSTROUTING -j EBPOL-QUEUE
				$x -A EBPOL-QUEUE -m owner --uid-owner 0 -j RETURN
				$x -A EBPOL-QUEUE -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
			}
			$x -A EBPOL-QUEUE -s $cidr -j NFQUEUE --queue-num 98
			$x -A EBPOL-QUEUE -d $cidr -j NFQUEUE --queue-num 98"
	done
	node_exec "$1" nft 'add table inet ebpol-label; add chain inet ebpol-label c { type filter hook postrouting priority 300; }; add rule inet ebpol-label c ct label set 1'
}

engine() { # NODE
	NODE_NAME=$1 node_exec "$1" sh -c 'echo $$ >/run/peer.pid; exec "$@"' peer kube-network-policies \
		--kubeconfig="$run/pki/peer.kubeconfig" --hostname-override="$1" --nfqueue-id=98 --disable-nri=true --v=1 \
		>>"$run/log/$1-peer.log" 2>&1 </dev/null &
	disown
}

case ${1:-} in
start)
	[ -x "$bin/kube-network-policies" ] || "$here/build.sh" peer
	sed "s|https://127.0.0.1:$port|https://$cp_ip:6443|" "$kubeconfig" >"$run/pki/peer.kubeconfig"
	chmod 600 "$run/pki/peer.kubeconfig"
	for n in $nodes; do
		queue_rules "$n"
		engine "$n"
	done
	;;
stop)
	for n in $nodes; do
		node_exec "$n" sh -c 'kill "$(cat /run/peer.pid)"; sleep 1
			nft delete table inet ebpol-label; nft delete table inet kube-network-policies
			for x in iptables ip6tables; do $x -t mangle -D POSTROUTING -j EBPOL-QUEUE; $x -t mangle -F EBPOL-QUEUE; $x -t mangle -X EBPOL-QUEUE; done' >/dev/null 2>&1 || true
	done
	;;
kill) node_exec "${2:?which node}" sh -c 'kill -9 "$(cat /run/peer.pid)"' ;;
revive) engine "${2:?which node}" ;;
*) die "usage: peer.sh start | stop | kill NODE | revive NODE" ;;
esac
