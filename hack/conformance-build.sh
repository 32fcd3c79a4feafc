#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# conformance-build.sh SCTP OUT: builds the suites of test/conformance. Without
# SCTP in the kernel the ClusterNetworkPolicy suite is built with its steps over
# SCTP taken out of the tests that have others as well: all other steps run as
# they are. The tests that are of SCTP alone are skipped.
set -euo pipefail
cd "$(dirname "$0")/../test/conformance"
export CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod
mod=go.mod
if [ "$1" != true ]; then
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	cp -r "$(go list -m -f '{{.Dir}}' sigs.k8s.io/network-policy-api)" "$tmp/api"
	chmod -R u+w "$tmp/api"
	for f in "$tmp"/api/conformance/tests/*.go; do
		case $f in *sctp*) ;; *) sed -i '/kubernetes\.PokeServer(.*"sctp",$/,+1d' "$f" ;; esac
	done
	cp go.mod "$tmp/go.mod"
	cp go.sum "$tmp/go.sum"
	go mod edit -replace "sigs.k8s.io/network-policy-api=$tmp/api" "$tmp/go.mod"
	mod=$tmp/go.mod
fi
go test -modfile="$mod" -c -o "$2" .
