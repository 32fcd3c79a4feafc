#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Looks for disagreements and crashes: fuzz.sh [TIME]
#
# First drawn clusters through all engines, for TIME: reference, tables and, as
# root, the loaded BPF programs. Then every fuzz target of the module, one after
# the other, for TIME each. What a fuzz target finds stays below its testdata
# and is a test from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
go=${GO:-go}
failed=()

if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
	export EBPOL_ROOT_TESTS=1
	echo "== reference, tables and kernel, $time"
	EBPOL_FUZZ_FOR=$time "$go" test -count=1 -timeout 0 -run '^TestEnginesAgree$' -v ./probe/kernel |
		grep -v 'OK, passed\|^=== RUN\|^    --- PASS' || failed+=(TestEnginesAgree)
else
	echo "== the kernel is left out: it takes root on Linux"
fi
while IFS=: read -r file func; do
	name=${func#func }
	[ -n "${EBPOL_ROOT_TESTS:-}" ] || [ "$name" != FuzzEnginesAgree ] || continue
	echo "== $name ($(dirname "$file")), $time"
	"$go" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$(dirname "$file")" || failed+=("$name")
done < <(git grep -oE --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go')
if [ "${#failed[@]}" -gt 0 ]; then
	echo "found something: ${failed[*]}" >&2
	exit 1
fi
