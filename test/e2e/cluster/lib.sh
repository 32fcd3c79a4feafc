# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Settings and words shared by the scripts here; sourced, not run.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../../.." && pwd)

kube_version=${KUBE_VERSION:-1.36.3}
containerd_version=${CONTAINERD_VERSION:-2.3.7}
coredns_version=${COREDNS_VERSION:-1.14.7}
knp_version=${KNP_VERSION:-1.1.0}

cache=${EBPOL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ebpol}/cluster
out=$cache/kube-$kube_version-containerd-$containerd_version-coredns-$coredns_version # what build.sh made
bin=$out/bin
cluster=${EBPOL_CLUSTER:-} # a second cluster on this machine: letters and digits, and another EBPOL_PORT
run=$cache/run$cluster  # state of the running cluster
kubeconfig=$run/pki/admin.kubeconfig

nodes=${EBPOL_NODES:-"n1 n2"}
cni=${EBPOL_CNI:-ptp}              # ptp (a veth and a route per pod) or bridge
proxy_mode=${EBPOL_PROXY:-nftables} # nftables, iptables, or none
ns=ebpol-kube$cluster              # prefix of every network namespace, and the cgroup's name
port=${EBPOL_PORT:-16444}          # the API server's port on this machine's loopback

# Addresses exist only inside the namespaces. The switch (.254, ::fe) is every
# node's default route and forwards nothing, so nothing gets out.
net4=172.30.98
net6=fd00:30:98:
cp_ip=$net4.10
cp_ip6=$net6:10
pod_cidr=10.244.0.0/16,fd00:10:244::/56
svc_cidr=10.96.0.0/16,fd00:10:96::/112
api_svc=10.96.0.1
api_svc6=fd00:10:96::1
dns_svc=10.96.0.10
dns_svc6=fd00:10:96::a
image=ebpol.invalid # first part of every image name; resolves nowhere on purpose

node_ip() { echo "$net4.$((10 + ${1#n}))"; }
node_ip6() { echo "$net6:$((10 + ${1#n}))"; }
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() {
	say "$*"
	exit 1
}
is_up() { [ -s "$run/cp.pid" ] && [ -d "/proc/$(cat "$run/cp.pid")" ]; }

# kubectl of the cluster's own version, from the root namespace
k() { "$bin/kubectl" --kubeconfig "$kubeconfig" "$@"; }
# a command in all namespaces of one node
node_exec() {
	local n=$1
	shift
	PATH=$bin:$PATH nsenter -t "$(cat "$run/$n.pid")" -a -- "$@"
}
