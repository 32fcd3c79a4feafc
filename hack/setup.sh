#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need on Debian 12 or later. Does nothing, and needs
# no root, if everything is there. Go itself is not installed: any Go >= 1.21
# fetches the version that go.mod names by itself.
set -euo pipefail

# command:package, one per thing that a test, a check or the cluster calls.
needs=(
	clang-19:clang-19 llvm-strip-19:llvm-19 bpftool:bpftool protoc:protobuf-compiler
	nft:nftables iptables:iptables ip:iproute2 runc:runc tmux:tmux jq:jq make:make git:git
	ipset:ipset conntrack:conntrack ethtool:ethtool mount:mount pgrep:procps
)
files=(
	/usr/lib/cni/ptp:containernetworking-plugins
	/usr/include/bpf/bpf_helpers.h:libbpf-dev
	/etc/ssl/certs/ca-certificates.crt:ca-certificates
)

PATH=$PATH:/usr/sbin:/sbin
missing=()
for n in "${needs[@]}"; do
	command -v "${n%%:*}" >/dev/null || missing+=("${n##*:}")
done
for f in "${files[@]}"; do
	[ -e "${f%%:*}" ] || missing+=("${f##*:}")
done
# busybox-static and busybox provide the same file; only the static one works in an image.
dpkg-query -W -f='${Status}' busybox-static 2>/dev/null | grep -q 'ok installed' || missing+=(busybox-static)

if [ ${#missing[@]} -gt 0 ]; then
	if ! command -v apt-get >/dev/null; then
		echo "setup: this machine has no apt-get; install by hand: ${missing[*]}" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "setup: missing ${missing[*]}; run \"sudo make setup\"" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

if ! command -v go >/dev/null; then
	echo 'setup: no "go" on the PATH; install Go 1.26 from https://go.dev/dl or your distribution' >&2
	exit 1
fi
go version >/dev/null
echo "setup: everything is there ($(go env GOVERSION), $(clang-19 --version | head -n 1))"
