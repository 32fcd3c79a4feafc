#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs suites that others wrote on the project's own cluster, of which
# kubectl ebpol is the only policy engine, and once more without it, when
# whatever denies must fail:
#
#   upstream's NetworkPolicy tests of the cluster's Kubernetes version,
#   the ClusterNetworkPolicy suite of sigs.k8s.io/network-policy-api,
#   the cases that cyclonus generates (CYCLONUS_CASES=cover for one of each kind).
#
# Writes test/conformance/results.txt and the README's table, and prints that.
# Needs root. Takes about forty minutes; SUITES="netpol cnp cyclonus" chooses,
# and NETPOL_PROCS is how many of upstream's tests run at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=test/e2e/cluster/lib.sh
. test/e2e/cluster/lib.sh
suites=${SUITES:-netpol cnp cyclonus}
reports=${CONFORMANCE_REPORTS:-$PWD/.cache/conformance}
mkdir -p "$reports" bin dist/image
export CGO_ENABLED=0

# SCTP is a property of the nodes' kernel, which is this machine's.
modprobe -q sctp || true
if grep -q '^SCTP ' /proc/net/protocols; then sctp=true; else sctp=false; fi

if ! is_up; then
	trap 'test/e2e/cluster/down.sh' EXIT
	test/e2e/cluster/up.sh >/dev/null
fi
export KUBECONFIG=$kubeconfig
go build -trimpath -o bin/kubectl-ebpol ./cmd/kubectl-ebpol
go run ./hack/image -o dist/image -tag "$image/ebpol-probe:conformance" >dist/image.digest
test/e2e/cluster/load.sh dist/image/image.tar
test/e2e/cluster/build.sh netpol
hack/conformance-build.sh $sctp "$reports/conformance.test"
agnhost=$image/e2e/agnhost:$(cat "$out/build/agnhost.version")
api=$(cd test/conformance && GOFLAGS=-mod=mod go list -m -f '{{.Dir}}' sigs.k8s.io/network-policy-api)
k apply -f "$api"/config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml >/dev/null
k wait --for=condition=Established crd/clusternetworkpolicies.policy.networking.k8s.io >/dev/null

skip=()
[ $sctp = true ] || skip=(--skip=SCTP)
export NETPOL_PROCS=${NETPOL_PROCS:-4}
cases=${CYCLONUS_CASES:-all}

# run RUN [FLAG]: every suite once; failures are counted later
run() {
	local run=$1 s
	for s in $suites; do
		say "$s $run enforcement"
		rm -f "$reports/$s-$run".*
		case $s in
		netpol) test/e2e/cluster/netpol.sh "Feature:NetworkPolicy" "${skip[@]}" --json-report="$reports/netpol-$run.json" >"$reports/netpol-$run.log" 2>&1 || true ;;
		cnp) go_test TestClusterNetworkPolicy "$reports/cnp-$run" "${@:2}" ;;
		cyclonus) go_test TestCyclonus "$reports/cyclonus-$run" "${@:2}" -cases="$cases" ;;
		esac
	done
}
go_test() { # TEST REPORT FLAGS...
	"$reports/conformance.test" -test.v=test2json -test.timeout=3h -test.run="^$1\$" -image="$agnhost" -sctp=$sctp "${@:3}" >"$2.log" 2>&1 || true
	go tool test2json <"$2.log" >"$2.jsonl"
}

NETPOL_OPEN=1 run without -quick
say "without enforcement: done"

bin/kubectl-ebpol enforce --cluster-policies --for 6h --yes --force --no-drops -o json \
	--probe-image "$image/ebpol-probe:conformance" >"$reports/enforce.jsonl" 2>"$reports/enforce.log" &
engine=$!
for _ in $(seq 240); do
	! grep -q '^enforcing' "$reports/enforce.log" || break
	kill -0 $engine || die "enforcement ended: see $reports/enforce.log"
	sleep 0.5
done
grep -q '^enforcing' "$reports/enforce.log" || die "enforcement hasn't begun: see $reports/enforce.log"
run with
say "with enforcement: done"
kill -0 $engine || die "enforcement ended meanwhile: see $reports/enforce.log"
kill -INT $engine
wait $engine || true

args=()
no_sctp="the kernel has no SCTP"
for s in $suites; do
	case $s in
	netpol) args+=("upstream NetworkPolicy e2e, v$kube_version=$reports/netpol-with.json,$reports/netpol-without.json,test/conformance/netpol-allows.txt,$no_sctp") ;;
	cnp) args+=("ClusterNetworkPolicy, network-policy-api v0.2.0=$reports/cnp-with.jsonl,$reports/cnp-without.jsonl,test/conformance/cnp-allows.txt,$no_sctp") ;;
	cyclonus) args+=("cyclonus v0.5.6, $cases=$reports/cyclonus-with.jsonl,$reports/cyclonus-without.jsonl,,$no_sctp") ;;
	esac
done
status=0
go run ./hack/conformance -o test/conformance/results.txt \
	-setting "Kubernetes $kube_version, two nodes, kube-proxy in $proxy_mode mode, CNI $cni, Linux $(uname -r | cut -d- -f1)." "${args[@]}" || status=$?
hack/docs.sh
exit $status
