#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the release below dist/ with krew, into a folder of its own and
# without a network, and runs what was installed.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export KREW_ROOT=$tmp KREW_NO_UPGRADE_CHECK=1
archive=dist/kubectl-ebpol_$(go env GOOS)_$(go env GOARCH).tar.gz
krew() { go tool -modfile=tools/go.mod krew "$@"; }

krew install --manifest=dist/ebpol.yaml --archive="$archive" 2>"$tmp/log" || {
	cat "$tmp/log" >&2
	exit 1
}
"$tmp/bin/kubectl-ebpol" version
# A changed archive must be refused.
cp "$archive" "$tmp/changed.tar.gz"
echo x >>"$tmp/changed.tar.gz"
# (Into a second root: without an index krew uninstalls nothing.)
if KREW_ROOT=$tmp/second krew install --manifest=dist/ebpol.yaml --archive="$tmp/changed.tar.gz" 2>/dev/null; then
	echo "krew-check: an archive with a wrong checksum was installed" >&2
	exit 1
fi
echo "krew-check: installs, runs, and refuses a changed archive"
