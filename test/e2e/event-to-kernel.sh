#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Time from the API server's answer to a change until the first packet is judged
# by it, on the project's own cluster that runs: EVENTS changes of policies and
# labels, one after the other.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/e2e/cluster/lib.sh
. test/e2e/cluster/lib.sh
if ! is_up; then
	echo 'no cluster is up: run "make cluster-up"'
	exit 0
fi
E2E_GOTEST="go test -v" test/e2e/run.sh -run '^$' -bench BenchmarkEventToKernel -benchtime "${EVENTS:-240}x" |
	awk '/p50 .*p99/ { sub(/^.*test.go:[0-9]*: /, ""); said[++n] = $0 } # of the last run
	     /^BenchmarkEventToKernel/ && / p99-ms/ { for (i = 3; i < NF; i += 2) more = more ", " $(i + 1) " " $i; total = $2 more; done = 1 }
	     /^(FAIL|---|panic)/ { print > "/dev/stderr" }
	     END { if (!done) exit 1; for (i = n - 4; i <= n; i++) if (i > 0) print "- " said[i]; print "- all: " total " (target: p99 < 250 ms)" }'
