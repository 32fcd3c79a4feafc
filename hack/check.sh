#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets up this machine and runs every test of the project, stage by stage:
# quick ones first, so that a mistake is known early. Needs root on Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
	echo 'check: network namespaces, BPF and the cluster need root: run "sudo make check"' >&2
	exit 1
fi
PATH=$PATH:/usr/sbin:/sbin
export TOTALS=$PWD/.cache/totals
mkdir -p .cache
rm -f "$TOTALS"

summary=()
failed=()
stage() { # name, command...
	local name=$1 start=$SECONDS
	shift
	printf '\n=== %s: %s\n' "$name" "$*"
	if "$@"; then
		summary+=("$(printf '%-16s ok    %4d s' "$name" $((SECONDS - start)))")
	else
		summary+=("$(printf '%-16s FAIL  %4d s' "$name" $((SECONDS - start)))")
		failed+=("$name")
	fi
}

stage setup make setup
[ ${#failed[@]} = 0 ] || exit 1
stage build make build
stage unit make test
stage root make test-root
stage demo hack/demo-check.sh
stage generate make generate-check
stage format make format-check
stage lint make lint
stage image make image
stage e2e make e2e
# builds the plugin for all six platforms, as image did the probe for both
stage dist make krew-check

printf '\n=== totals\n'
printf '%s\n' "${summary[@]}"
go run ./hack/gotest -totals="$TOTALS" -sum
if [ ${#failed[@]} -gt 0 ]; then
	echo "check: failed: ${failed[*]}" >&2
	exit 1
fi
echo "check: everything passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
