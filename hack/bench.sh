#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What observing costs, as tables. Ratios are measured alternating within one
# run; absolute numbers are this machine's. What only a cluster shows is
# measured on the project's own, which is booted for it and ended afterwards
# unless it was running already; with E2E_KUBECONFIG the first verdict on that.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo 'bench needs root: run "sudo make bench"' >&2; exit 1; }
mkdir -p bin
go build -trimpath -o bin/ ./cmd/...

echo "# Measured on $(uname -sr), $(nproc) cores, $(go env GOVERSION)"
echo
echo "## Two pods"
echo
go run ./hack/bench -probe bin/ebpol-probe "$@"
echo
echo "## BPF programs, per packet (BPF_PROG_TEST_RUN)"
echo
go test -run '^$' -bench . ./bpf/... ./probe/... 2>&1 |
	awk 'BEGIN { print "| benchmark | ns/op | more |"; print "| --- | ---: | --- |" }
	     /^Benchmark/ { more = ""; for (i = 5; i < NF; i += 2) more = more $i " " $(i + 1) " "; print "| " $1 " | " $3 " | " more "|" }
	     /^(FAIL|---|panic)/ { print > "/dev/stderr"; bad = 1 } END { exit bad }'
echo
echo "## Policies of a large cluster"
echo
go run ./hack/benchcompile
echo
echo "## One change, from the cluster's state to each node's delta"
echo
go test -run '^$' -bench BenchmarkChange -benchtime 50x ./pkg/session 2>&1 |
	awk 'BEGIN { print "| change | ms, a burst waits 15 of them | ms of one processor |"; print "| --- | ---: | ---: |" }
	     /^Benchmark/ { printf "| %s | %.1f | %s |\n", $1, $3 / 1e6, $5 }
	     /^(FAIL|---|panic)/ { print > "/dev/stderr"; bad = 1 } END { exit bad }'
echo
echo "## Image"
echo
go run ./hack/image -o dist/image 2>&1 >/dev/null | sed 's/^image: /- /'
echo
# shellcheck source=test/e2e/cluster/lib.sh
. test/e2e/cluster/lib.sh
if [ -z "${E2E_KUBECONFIG:-}" ] && ! is_up; then
	trap 'test/e2e/cluster/down.sh' EXIT
	test/e2e/cluster/up.sh >/dev/null
fi
echo "## First verdict"
echo
test/e2e/first-verdict.sh
echo
echo "## From a change in the API to its effect in the kernel"
echo
test/e2e/event-to-kernel.sh
echo
echo "## What being observed costs pods on two nodes"
echo
test/e2e/observing.sh
