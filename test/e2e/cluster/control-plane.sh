# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The control plane: process 1 of its namespaces. Started by up.sh.
set -eu
# shellcheck source=/dev/null
. "$1"
export PATH=$bin:$PATH
# Nothing here starts in order: what can't run yet is started again.
keep() { while :; do
	"$@" || true
	sleep 0.5
done; }
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
hostname cp
p=$run/pki l=$run/log
keep etcd --name kube --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
	--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster kube=http://127.0.0.1:2380 \
	--unsafe-no-fsync --log-level warn >"$l/etcd.log" 2>&1 &
keep kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address="$cp_ip" \
	--service-cluster-ip-range="$svc_cidr" --allow-privileged=true --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
	--client-ca-file="$p/ca.crt" --tls-cert-file="$p/apiserver.crt" --tls-private-key-file="$p/apiserver.key" \
	--kubelet-client-certificate="$p/apiserver-kubelet.crt" --kubelet-client-key="$p/apiserver-kubelet.key" \
	--kubelet-preferred-address-types=InternalIP \
	--proxy-client-cert-file="$p/front-proxy.crt" --proxy-client-key-file="$p/front-proxy.key" --requestheader-client-ca-file="$p/ca.crt" \
	--requestheader-allowed-names=front-proxy-client --requestheader-username-headers=X-Remote-User \
	--requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$p/sa.pub" \
	--service-account-signing-key-file="$p/sa.key" >"$l/apiserver.log" 2>&1 &
keep kube-controller-manager --kubeconfig="$p/controller-manager.kubeconfig" --authentication-kubeconfig="$p/controller-manager.kubeconfig" \
	--authorization-kubeconfig="$p/controller-manager.kubeconfig" --use-service-account-credentials --leader-elect=false \
	--root-ca-file="$p/ca.crt" --service-account-private-key-file="$p/sa.key" --cluster-signing-cert-file="$p/ca.crt" \
	--cluster-signing-key-file="$p/ca.key" --allocate-node-cidrs --cluster-cidr="$pod_cidr" --service-cluster-ip-range="$svc_cidr" \
	--node-cidr-mask-size-ipv4=24 --node-cidr-mask-size-ipv6=64 >"$l/controller-manager.log" 2>&1 &
keep kube-scheduler --kubeconfig="$p/scheduler.kubeconfig" --authentication-kubeconfig="$p/scheduler.kubeconfig" \
	--authorization-kubeconfig="$p/scheduler.kubeconfig" --leader-elect=false >"$l/scheduler.log" 2>&1 &
# process 1 also reaps what is handed to it, which bash does while it waits
while :; do
	sleep 1000000 &
	wait $!
done
