#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots the cluster that build.sh built and waits until its nodes are Ready
# and its DNS answers. Needs root. Ends with how to reach it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || die "needs root: namespaces, mounts and cgroups are made"
case $cache/ in /run/* | /etc/* | /opt/* | /var/lib/* | /var/log/*) die "EBPOL_CACHE=$cache: a node hides that folder; choose another" ;; esac
mkdir -p "$cache"
exec 9>"$cache/boot$cluster.lock"
flock -n 9 || die "another boot is going on (lock $cache/boot$cluster.lock); wait for it"
! is_up || die "a cluster is running: export KUBECONFIG=$kubeconfig to use it, or end it with 'make cluster-down'"
! ip netns list | grep -q "^$ns-cp\b" || [ -e "$run" ] ||
	die "network namespaces $ns-* exist, but not by way of $run: a cluster with another EBPOL_CACHE runs; end it with that EBPOL_CACHE"
"$here/build.sh"
[ ! -e "$run" ] || "$here/down.sh" # what a crash or a reboot left
! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port on 127.0.0.1 is in use; choose another by EBPOL_PORT"
SECONDS=0
mkdir -p "$run"/{pki,etcd,log}
chmod 700 "$run"
trap '[ $? = 0 ] || { say "not up; logs were in $run/log:"; tail -n 5 "$run"/log/*.log >&2 || true; "$here/down.sh"; }' EXIT
for n in cp $nodes; do : >"$run/log/$n.log"; done
{
	declare -p here out bin run image proxy_mode cp_ip pod_cidr svc_cidr dns_svc
} >"$run/env"

### keys
san=(127.0.0.1 localhost "$cp_ip" "$cp_ip6" "$api_svc" "$api_svc6" kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local)
for n in $nodes; do san+=("node:$n"); done
"$bin/helper" pki "$run/pki" "$cp_ip:6443" "${san[@]}"
sed -i "s|https://$cp_ip:6443|https://127.0.0.1:$port|" "$kubeconfig"

### network: a switch, and a namespace per machine, with no way out
quiet6=(net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0)
in_ns() { ip netns exec "$ns-$1" "${@:2}"; }
ip netns add $ns-net
in_ns net sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 "${quiet6[@]}"
ip -n $ns-net link set lo up
ip -n $ns-net link add br0 type bridge
ip -n $ns-net addr add $net4.254/24 dev br0
ip -n $ns-net addr add $net6:fe/64 dev br0 nodad
ip -n $ns-net link set br0 up
machine() { # NAME IPV4 IPV6
	ip netns add "$ns-$1"
	in_ns "$1" sysctl -qw "${quiet6[@]}"
	ip -n "$ns-$1" link set lo up
	ip -n $ns-net link add "$1" type veth peer name eth0 netns "$ns-$1"
	ip -n $ns-net link set "$1" master br0 up
	ip -n "$ns-$1" addr add "$2/24" dev eth0
	ip -n "$ns-$1" addr add "$3/64" dev eth0 nodad
	ip -n "$ns-$1" link set eth0 up
	ip -n "$ns-$1" route add default via $net4.254
	ip -n "$ns-$1" -6 route add default via $net6:fe
}
machine cp "$cp_ip" "$cp_ip6"
for n in $nodes; do
	machine "$n" "$(node_ip "$n")" "$(node_ip6 "$n")"
	in_ns "$n" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done

### cgroups: one per machine in every v1 hierarchy and in the v2 one
hierarchies() { if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup/; else ls -d /sys/fs/cgroup/*/; fi; }
cgroups() { # NAME
	local h d
	for h in $(hierarchies); do
		for d in "$h$ns" "$h$ns/$1"; do
			[ -d "$d" ] || mkdir "$d"
			if [ -f "$d/cpuset.cpus" ] && [ ! -f "$d/cgroup.controllers" ]; then
				cat "$d/../cpuset.cpus" >"$d/cpuset.cpus"
				cat "$d/../cpuset.mems" >"$d/cpuset.mems"
			fi
		done
	done
}

### a machine is process 1 of its own PID, mount, UTS, IPC and cgroup namespace
start() { # NAME SCRIPT [ARG]
	cgroups "$1"
	(
		for h in $(hierarchies); do echo $BASHPID >"$h$ns/$1/cgroup.procs"; done
		exec 9>&- setsid nsenter --net="/run/netns/$ns-$1" unshare --mount --uts --ipc --pid --cgroup --fork \
			bash "$2" "$run/env" "$1" "${@:3}" >>"$run/log/$1.log" 2>&1 </dev/null
	) &
	local up=$! kid
	for _ in $(seq 100); do
		kid=$(cat "/proc/$up/task/$up/children" 2>/dev/null || true)
		[ -n "$kid" ] && [ "$(stat -Lc %i "/proc/${kid% }/ns/net" 2>/dev/null)" = "$(stat -Lc %i "/run/netns/$ns-$1")" ] && break
		sleep 0.05
	done
	echo "${kid% }" >"$run/$1.pid"
	disown
}

start cp "$here/control-plane.sh"
setsid "$bin/helper" forward 127.0.0.1:"$port" /run/netns/$ns-cp 127.0.0.1:6443 >>"$run/log/forward.log" 2>&1 </dev/null 9>&- &
echo $! >"$run/forward.pid"
disown
for n in $nodes; do start "$n" "$here/node.sh" "$(node_ip "$n"),$(node_ip6 "$n")"; done

wait_for() { # SECONDS WHAT COMMAND...
	local end=$((SECONDS + $1)) t=$1 what=$2
	shift 2
	while [ $SECONDS -lt $end ]; do
		"$@" >/dev/null 2>&1 && {
			say "$what (${SECONDS}s)"
			return
		}
		sleep 0.25
	done
	die "$what: not after ${t}s; see $run/log"
}
wait_for 120 "API server ready" k get --raw /readyz

### pod network: each node's ranges, and a route to them on every other machine
ranges() { k get node "$1" -o jsonpath='{.spec.podCIDRs[0]} {.spec.podCIDRs[1]}'; }
has_ranges() { ranges "$1" | grep -q '/.* .*/'; }
for n in $nodes; do
	wait_for 90 "$n has its pod ranges" has_ranges "$n"
	read -r cidr4 cidr6 <<<"$(ranges "$n")"
	for m in cp $nodes; do
		[ "$m" != "$n" ] || continue
		ip -n "$ns-$m" route replace "$cidr4" via "$(node_ip "$n")"
		ip -n "$ns-$m" -6 route replace "$cidr6" via "$(node_ip6 "$n")"
	done
	if [ "$cni" = ptp ]; then
		main='"type":"ptp","ipMasq":false'
	else
		main='"type":"bridge","bridge":"cni0","isGateway":true,"hairpinMode":true,"ipMasq":false'
	fi
	node_exec "$n" mkdir -p /etc/cni/net.d
	node_exec "$n" sh -c 'cat >/etc/cni/net.d/.tmp && mv /etc/cni/net.d/.tmp /etc/cni/net.d/10-ebpol.conflist' <<-CNI
		{"cniVersion":"1.0.0","name":"ebpol","plugins":[
		 {"type":"quick"},
		 {$main,"ipam":{"type":"host-local","ranges":[[{"subnet":"$cidr4"}],[{"subnet":"$cidr6"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}},
		 {"type":"portmap","capabilities":{"portMappings":true}}]}
	CNI
done
wait_for 120 "nodes Ready" k wait --for=condition=Ready node --all --timeout=1s

### DNS
sed -e "s|@IMAGE@|$image/coredns:1|" -e "s|@DNS@|$dns_svc|" -e "s|@DNS6@|$dns_svc6|" "$here/coredns.yaml" | k apply -f - >/dev/null
wait_for 90 "DNS ready" k -n kube-system wait --for=condition=Available deployment/coredns --timeout=1s
k get nodes -o wide >&2
say "up after ${SECONDS}s"
echo "export KUBECONFIG=$kubeconfig PATH=$bin:\$PATH"
