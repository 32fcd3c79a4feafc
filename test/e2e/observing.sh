#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What being observed costs two pods on two nodes of the project's own cluster,
# that runs: two pairs of pods, of which `top` watches one, in turns.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/e2e/cluster/lib.sh
. test/e2e/cluster/lib.sh
if ! is_up; then
	echo 'no cluster is up: run "make cluster-up"'
	exit 0
fi
export E2E_IMAGE=${E2E_IMAGE:-$image/ebpol-probe:e2e} KUBECONFIG=$kubeconfig PATH=$bin:$PATH
go run ./hack/image -o dist/image -tag "$E2E_IMAGE" >/dev/null 2>&1
test/e2e/cluster/load.sh dist/image/image.tar >/dev/null
space=ebpol-observing
kubectl create namespace "$space" >/dev/null
trap 'kubectl delete namespace "$space" --wait=false >/dev/null' EXIT
read -r -a on <<<"$nodes"
for i in 0 1; do
	for end in client server; do
		node=${on[0]}
		[ "$end" = client ] || node=${on[1]}
		kubectl apply -n "$space" -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $end$i, labels: {pair: "$i"}}
spec:
  nodeName: $node
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers: [{name: c, image: $image/busybox:1, command: [sleep, "3600"]}]
YAML
	done
done
kubectl wait -n "$space" --for=condition=Ready pod --all --timeout=60s >/dev/null

# The network namespace of a pod, by a process in its cgroup.
space_of() {
	local uid p
	uid=$(kubectl get pod -n "$space" "$1" -o jsonpath='{.metadata.uid}')
	for p in /proc/[0-9]*; do
		if grep -qE "${uid//-/[-_]}" "$p/cgroup" 2>/dev/null; then
			echo "$p/ns/net"
			return
		fi
	done
	die "no process of pod $1"
}
pairs=()
for i in 0 1; do
	pairs+=("$(space_of "client$i") $(space_of "server$i") $(kubectl get pod -n "$space" "server$i" -o jsonpath='{.status.podIP}')")
done
# shellcheck disable=SC2016 # PAIR is the bench's
go run ./hack/bench -pairs "${pairs[0]},${pairs[1]}" "$@" \
	-watch 'bin/kubectl-ebpol top -n '"$space"' -l pair=$PAIR -o json --probe-image "$E2E_IMAGE"'
