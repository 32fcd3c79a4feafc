#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records half a minute of the live demo into the file that ships inside the
# plugin: demo-recording.sh PLUGIN FILE. Needs root on Linux.
set -euo pipefail
plugin=$1 file=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# Processes are recorded with where their program is. In a mount namespace of
# its own that is where a user's is, not where this checkout happens to be.
bin=$(cd "$(dirname "$plugin")" && pwd)
unshare -m sh -c 'mount --bind "$1" /usr/local/bin && exec /usr/local/bin/kubectl-ebpol demo --headless --for 30s --record "$2"' \
	- "$bin" "$tmp/shop.ebpol" >/dev/null
size=$(stat -c %s "$tmp/shop.ebpol")
[ "$size" -lt 400000 ] || { echo "the recording has $size bytes: too many for every plugin to carry" >&2; exit 1; }
mv "$tmp/shop.ebpol" "$file"
echo "recorded $file, $size bytes"
