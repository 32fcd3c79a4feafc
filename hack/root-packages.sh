#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lists the packages whose tests use a bed of pkg/testkit, directly or through
# a package of ours: those are the ones that root makes a difference to.
set -euo pipefail
cd "$(dirname "$0")/.."
go list -f '{{$p := .ImportPath}}{{range .TestImports}}{{$p}} {{.}}{{"\n"}}{{end}}{{range .XTestImports}}{{$p}} {{.}}{{"\n"}}{{end}}' ./... |
	awk '$2 ~ /kubectl-ebpol\/pkg\/testkit($|\/)/ && $1 !~ /\/test\/e2e/ { print $1 }' | sort -u
