#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes pkg/wire/ebpol.pb.go from ebpol.proto: protoc from Debian, the Go
# plugin at the version that go.mod names. The committed file must be what this
# makes; `make generate` compares.
#
#   hack/generate-proto.sh [OUTPUT_FOLDER]     default: pkg/wire
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$top/pkg/wire}
want=3.21.12 # Debian 12's; another one writes another header line

command -v protoc >/dev/null || {
  echo "protoc is missing: apt-get install protobuf-compiler" >&2
  exit 1
}
have=$(protoc --version | cut -d' ' -f2)
if [ "$have" != "$want" ]; then
  echo "protoc is $have, the committed file is made by $want: install protobuf-compiler of Debian 12" >&2
  exit 1
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$top"
go build -o "$tmp/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
mkdir -p "$out"
PATH=$tmp:$PATH protoc -I pkg/wire --go_out="$out" --go_opt=paths=source_relative ebpol.proto
