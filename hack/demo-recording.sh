#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records half a minute of the live demo into the file that ships inside the
# plugin: demo-recording.sh PLUGIN FILE. Needs root on Linux.
set -euo pipefail
plugin=$1 file=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$plugin" demo --headless --for 30s --record "$tmp/shop.ebpol" >/dev/null
size=$(stat -c %s "$tmp/shop.ebpol")
[ "$size" -lt 400000 ] || { echo "the recording has $size bytes: too many for every plugin to carry" >&2; exit 1; }
mv "$tmp/shop.ebpol" "$file"
echo "recorded $file, $size bytes"
