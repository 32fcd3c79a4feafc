# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A node: process 1 of its namespaces. Started by up.sh. Why each step is
# needed on a machine that is already somebody's: README.md.
set -eu
# shellcheck source=/dev/null
. "$1"
node=$2 node_ips=$3
export PATH=$bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
keep() { while :; do
	"$@" || true
	sleep 0.5
done; }
d=$run/$node l=$run/log p=$run/pki
mkdir -p "$d"/{etc,etc.work,lib,log,opt/cni}

### its own view of the file system; everything else is the machine's
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
if grep -q ':.' /proc/self/cgroup && grep -qv '^0:' /proc/self/cgroup; then
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	while IFS=: read -r id names _; do
		# v1 hierarchies have a number above 0; the root of each mount is this
		# node's own cgroup, since it has a cgroup namespace
		[ "$id" != 0 ] || continue
		case $names in name=*) opt=none,$names dir=${names#name=} ;; *) opt=$names dir=$names ;; esac
		mkdir "/sys/fs/cgroup/$dir"
		mount -t cgroup -o "$opt" cgroup "/sys/fs/cgroup/$dir"
	done </proc/self/cgroup
	mkdir /sys/fs/cgroup/unified
	mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
else
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing || true
# kubelet would set these for the whole machine: let it read that they are set
# already, and make all of /proc/sys but the network namespace's own read-only
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 tmpfs /run
for s in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
	mkdir -p "/run/sysctl/$(dirname "${s%=*}")"
	echo "${s#*=}" >"/run/sysctl/${s%=*}"
	mount --bind "/run/sysctl/${s%=*}" "/proc/sys/${s%=*}"
done
mount -t overlay -o "lowerdir=/etc,upperdir=$d/etc,workdir=$d/etc.work" overlay /etc
mount --bind "$d/lib" /var/lib
mount --bind "$d/log" /var/log
mount --bind "$d/opt" /opt
mount --make-rshared /
hostname "$node"
echo "$node" >/etc/hostname
{
	printf '127.0.0.1 localhost\n::1 localhost\n'
	for ip in ${node_ips//,/ }; do printf '%s %s\n' "$ip" "$node"; done
} >/etc/hosts
: >/etc/resolv.conf
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
cp -r /usr/lib/cni /opt/cni/bin
install -m 755 "$here/cni-quick" /opt/cni/bin/quick
mkdir -p /etc/cni/net.d /etc/ebpol /var/lib/kubelet /var/lib/containerd /var/log/pods /run/containerd

### container runtime
cat >/etc/ebpol/containerd.toml <<TOML
version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
disabled_plugins = ['io.containerd.internal.v1.tracing', 'io.containerd.nri.v1.nri']
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '$image/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  # without CAP_SYS_RESOURCE a container's OOM score can't go below its parent's
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
  conf_dir = '/etc/cni/net.d'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = false
TOML
keep containerd --config /etc/ebpol/containerd.toml >"$l/$node-containerd.log" 2>&1 &
for _ in $(seq 100); do
	ctr version >/dev/null 2>&1 && break
	sleep 0.1
done
for i in "$out"/images/*.tar; do ctr -n k8s.io images import "$i"; done

### kubelet
cat >/etc/ebpol/kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $p/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$dns_svc]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
failSwapOn: false
maxPods: 100
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
registerWithTaints: []
YAML
keep kubelet --config=/etc/ebpol/kubelet.yaml --kubeconfig="$p/kubelet-$node.kubeconfig" --hostname-override="$node" \
	--node-ip="$node_ips" --v=2 >"$l/$node-kubelet.log" 2>&1 &

### service addresses
if [ "$proxy_mode" != none ]; then
	cat >/etc/ebpol/proxy.yaml <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: $proxy_mode
clientConnection: {kubeconfig: $p/proxy.kubeconfig}
clusterCIDR: $pod_cidr
hostnameOverride: $node
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
	keep kube-proxy --config=/etc/ebpol/proxy.yaml --v=2 >"$l/$node-proxy.log" 2>&1 &
fi
# process 1 also reaps what is handed to it, which bash does while it waits
while :; do
	sleep 1000000 &
	wait $!
done
