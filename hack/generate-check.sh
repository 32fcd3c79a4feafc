#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generates into a copy of the tree and compares, so that the work tree is not
# touched and uncommitted work is judged as it stands.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
	if [ -e "$f" ]; then printf '%s\0' "$f"; fi
done | tar --null -T - -cf - | tar -xf - -C "$copy"

cp -r "$copy" "$copy.before"
trap 'rm -rf "$copy" "$copy.before"' EXIT
make -s -C "$copy" generate >/dev/null
if ! diff -rq "$copy.before" "$copy" -x .git -x bin -x .cache; then
	diff -ru "$copy.before" "$copy" -x .git -x bin -x .cache | grep -av '^Binary' | head -n 60 || true
	echo "generated files in $root are out of date: run \"make generate\" and commit" >&2
	exit 1
fi
if ! go mod tidy -diff; then
	echo 'go.mod is not tidy: run "go mod tidy" and commit' >&2
	exit 1
fi
echo "generated files are up to date"
