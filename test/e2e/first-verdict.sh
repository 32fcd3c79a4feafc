#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Time from Enter to the first verdict on a cluster that runs: `trace` of a pod
# with traffic, five times, until the first line. The first run may pull or
# load; it is printed but not in the median.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/e2e/cluster/lib.sh
. test/e2e/cluster/lib.sh
if [ -z "${E2E_KUBECONFIG:-}" ]; then
	if ! is_up; then
		echo 'no cluster is up: run "make cluster-up" or set E2E_KUBECONFIG'
		exit 0
	fi
	E2E_KUBECONFIG=$kubeconfig
	E2E_IMAGE=${E2E_IMAGE:-$image/ebpol-probe:e2e}
	go run ./hack/image -o dist/image -tag "$E2E_IMAGE" >/dev/null 2>&1
	test/e2e/cluster/load.sh dist/image/image.tar >/dev/null
	E2E_BUSYBOX=$image/busybox:1
	PATH=$bin:$PATH
fi
export KUBECONFIG=$E2E_KUBECONFIG
ns=ebpol-bench
kubectl create namespace "$ns" >/dev/null
trap 'kubectl delete namespace "$ns" --wait=false >/dev/null' EXIT
kubectl apply -n "$ns" -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers:
    - name: c
      image: ${E2E_BUSYBOX:?set it to a busybox image that the nodes have}
      command: [sh, -c, "mkdir /tmp/w; echo ok >/tmp/w/index.html; exec busybox httpd -f -p 8080 -h /tmp/w"]
YAML
kubectl wait -n "$ns" --for=condition=Ready pod/server --timeout=60s >/dev/null
ip=$(kubectl get pod -n "$ns" server -o jsonpath='{.status.podIP}')
kubectl run -n "$ns" client --image="$E2E_BUSYBOX" --restart=Never --overrides='{"spec":{"terminationGracePeriodSeconds":0,"automountServiceAccountToken":false}}' \
	--command -- sh -c "while :; do wget -qO /dev/null http://$ip:8080/; usleep 50000; done" >/dev/null
kubectl wait -n "$ns" --for=condition=Ready pod/client --timeout=60s >/dev/null

times=()
for i in 1 2 3 4 5 6; do
	start=$(date +%s%N)
	exec 3< <(exec bin/kubectl-ebpol trace pod server -n "$ns" -o json --probe-image "${E2E_IMAGE:-}" 2>/dev/null)
	plugin=$!
	read -r line <&3 || { echo "trace ended without a line" >&2; exit 1; }
	ms=$((($(date +%s%N) - start) / 1000000))
	kill -INT "$plugin"
	cat <&3 >/dev/null # it cleans up before it ends
	exec 3<&-
	grep -q '"type"' <<<"$line"
	[ "$i" = 1 ] && echo "- first run: $ms ms" || times+=("$ms")
done
echo "- median of five more: $(printf '%s\n' "${times[@]}" | sort -n | sed -n 3p) ms (target ≤ 1500)"
