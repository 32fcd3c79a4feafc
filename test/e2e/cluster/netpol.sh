#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs upstream's NetworkPolicy tests on the running cluster.
#   netpol.sh FOCUS [ginkgo flags]      FOCUS is a regular expression
set -euo pipefail
. "$(dirname "$0")/lib.sh"
is_up || die "no cluster is running; boot one with 'make cluster-up'"
[ -x "$bin/netpol.test" ] || "$here/build.sh" netpol
focus=${1:-Feature:NetworkPolicy}
shift || true
# the image names of the tests, pointed at the ones that build.sh packed
printf 'promoterE2eRegistry: %s\ngcRegistry: %s\n' $image/e2e $image >"$run/repos.yaml"
export KUBE_TEST_REPO_LIST=$run/repos.yaml
exec "$bin/netpol.test" --kubeconfig="$kubeconfig" --provider=skeleton --num-nodes=2 \
	--ginkgo.focus="$focus" --ginkgo.timeout=2h --ginkgo.no-color --ginkgo.v=false "$@"
