#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts image archives on every node of the running cluster.
#   load.sh ARCHIVE...
set -euo pipefail
. "$(dirname "$0")/lib.sh"
is_up || die "no cluster is running; boot one with 'make cluster-up'"
for n in $nodes; do
	for f in "$@"; do said=$(node_exec "$n" ctr -n k8s.io images import "$(realpath "$f")" 2>&1) || die "image $f on node $n: $said"; done
done
