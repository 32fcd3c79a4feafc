#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs upstream's NetworkPolicy tests on the running cluster.
#   netpol.sh FOCUS [ginkgo flags]      FOCUS is a regular expression
# NETPOL_PROCS tests run at a time, each in namespaces of its own. NETPOL_OPEN=1
# is for a cluster that enforces nothing: a test waits one second, not ten, for
# a connection to be denied.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
is_up || die "no cluster is running; boot one with 'make cluster-up'"
"$here/build.sh" netpol
focus=${1:-Feature:NetworkPolicy}
shift || true
# the image names of the tests, pointed at the ones that build.sh packed
printf 'promoterE2eRegistry: %s\ngcRegistry: %s\n' $image/e2e $image >"$run/repos.yaml"
export KUBE_TEST_REPO_LIST=$run/repos.yaml
tests=$bin/netpol.test
[ -z "${NETPOL_OPEN:-}" ] || tests=$bin/netpol-open.test
exec "$bin/ginkgo" run --procs="${NETPOL_PROCS:-1}" --focus="$focus" --timeout=2h --no-color --silence-skips "$@" \
	"$tests" -- --kubeconfig="$kubeconfig" --provider=skeleton --num-nodes=2
