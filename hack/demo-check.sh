#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the demo as a newcomer would, without and with a terminal, and checks
# what it shows and that it leaves nothing. Needs root on Linux, jq and tmux.
set -euo pipefail
cd "$(dirname "$0")/.."
plugin=$PWD/bin/kubectl-ebpol
tmp=$(mktemp -d)
socket=ebpol-demo-check-$$
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$tmp"' EXIT
fail() {
	echo "demo-check: $*" >&2
	exit 1
}

# What a careless demo would leave: anonymous namespaces show only by who is in them.
belongings() {
	{
		ip -o link | cut -d: -f2
		ls /run/netns 2>/dev/null || true
		bpftool -j prog list | jq -r '.[] | "program \(.id) \(.name // "")"' | grep ' ebpol' || true
		bpftool -j link list | jq -r '.[] | "BPF link \(.id)"'
		nft list tables
		pgrep -f "$plugin demo" || true
	} | sort
}
belongings >"$tmp/before"
left_nothing() {
	# BPF objects go when the kernel gets round to it.
	for _ in $(seq 100); do
		belongings >"$tmp/after"
		if [ -z "$(comm -13 "$tmp/before" "$tmp/after")" ]; then return; fi
		sleep 0.1
	done
	fail "the demo left something behind ($1): $(comm -13 "$tmp/before" "$tmp/after")"
}
has() { # what, jq condition
	jq -e -s "any(.[]; $2)" "$tmp/out" >/dev/null || fail "no line shows $1 ($2); see the first lines:$(head -n 5 "$tmp/out")"
	echo "ok: $1"
}

"$plugin" demo --headless --for 6s -o json >"$tmp/out" 2>"$tmp/err" || fail "it ended with $?: $(cat "$tmp/err")"
grep -qi recording "$tmp/err" && fail "it replayed a recording: $(cat "$tmp/err")"
jq -es 'length > 50' "$tmp/out" >/dev/null || fail "only $(wc -l <"$tmp/out") lines: $(cat "$tmp/err")"
has "an allowed flow by name" '.type == "flow" and .verdict == "allow" and .source.workload == "deploy/web" and .destination.workload == "deploy/cart"'
has "IPv6" '.type == "flow" and (.source.ip // "" | contains(":"))'
has "DNS by its service" '.type == "flow" and .protocol == "UDP" and .destination.service == "kube-system/kube-dns"'
has "the forgotten report" '.source.workload == "cronjob/report" and .verdict == "allow" and .candidate == "deny" and (.candidateIsolatedBy | length > 0)'
has "the forgotten monitoring" '.source.workload == "sts/scraper" and .destination.port == 9090 and .candidate == "deny"'
has "the candidate's rule" '.verdict == "allow" and .candidate == "allow" and .candidateRule.name == "web"'
has "what the CNI forgot to deny" '.source.pod == "intruder" and .verdict == "deny" and .isolatedBy[0].name == "db"'
has "a firewall's drop" '.type == "drop" and (.reason | contains("NETFILTER_DROP"))'
has "a drop at a closed port" '.type == "drop" and (.reason | contains("NO_SOCKET"))'
left_nothing "headless"

tmux -L "$socket" new-session -d -x 140 -y 40 "$plugin demo; echo ended with \$?; sleep 60"
seen() {
	for _ in $(seq 300); do
		tmux -L "$socket" capture-pane -p >"$tmp/screen"
		if grep -qi -- "$1" "$tmp/screen"; then return; fi
		sleep 0.1
	done
	cat "$tmp/screen" >&2
	fail "the screen doesn't show $1"
}
seen "would deny"
seen "deploy/web"
echo "ok: the screen"
tmux -L "$socket" send-keys q
seen "ended with 0"
tmux -L "$socket" kill-server
left_nothing "after q"

# Ctrl-C, on the screen and without one.
for flags in "" "--headless --for 5m"; do
	tmux -L "$socket" new-session -d -x 140 -y 40 "$plugin demo $flags; echo ended with \$?; sleep 60"
	seen "would.deny"
	tmux -L "$socket" send-keys C-c
	seen "ended with 0"
	tmux -L "$socket" kill-server
	left_nothing "after Ctrl-C of demo $flags"
done
echo "ok: Ctrl-C"

# Killed, the hard way.
"$plugin" demo --headless --for 60s >"$tmp/out" 2>/dev/null &
pid=$!
for _ in $(seq 200); do
	if [ -s "$tmp/out" ]; then break; fi
	sleep 0.1
done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
left_nothing "after kill -9"
echo "demo-check: everything is as it should be"
