#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the demo as a newcomer would, without and with a terminal, and checks
# what it shows and that it leaves nothing. Needs root on Linux, jq and tmux.
set -euo pipefail
cd "$(dirname "$0")/.."
plugin=$PWD/bin/kubectl-ebpol
tmp=$(mktemp -d)
socket=ebpol-demo-check-$$
: >"$tmp/has"
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$tmp"' EXIT
# A session that stays: a server that ends with its last one takes its time.
tmux -L "$socket" new-session -d 'sleep 3600'
fail() {
	echo "demo-check: $*" >&2
	exit 1
}

# What a careless demo would leave: anonymous namespaces show only by who is in them.
belongings() {
	{
		ip -o link | cut -d: -f2
		ls /run/netns 2>/dev/null || true
		nft list tables
		cut -d' ' -f2 /proc/mounts
		pgrep -f "^$plugin demo" || true
	} | sort
}
belongings >"$tmp/before"
# What the demo that runs has: its processes, their network namespaces, and what
# they hold of BPF, by number. A map has no name by which it could be told.
running() {
	local own p
	own=$(readlink "/proc/$$/ns/net")
	for _ in $(seq 100); do
		# (One look at all processes: pgrep for each takes seconds on a busy machine.)
		for p in $(ps -eo pid=,ppid=,args= | awk -v demo="$plugin demo" '
			{ pid = $1; parent[pid] = $2; $1 = $2 = ""; sub(/^ +/, ""); if (index($0, demo) == 1) mine[pid] }
			END { for (pid in parent) if (pid in mine || parent[pid] in mine) print pid }'); do
			echo "process $p"
			echo "namespace $(readlink "/proc/$p/ns/net" || true)"
			sed -n 's/^\(map\|prog\|link\)_id:[[:space:]]*/\1 /p' "/proc/$p/fdinfo/"* || true # it ended just now
		done 2>/dev/null | grep -vxF "namespace $own" | sort -u >"$tmp/has" || true
		if [ "$(cut -d' ' -f1 "$tmp/has" | sort -u | wc -l)" = 5 ]; then return; fi
		sleep 0.1
	done
	fail "the demo has not all of process, namespace, map, prog and link: $(cat "$tmp/has")"
}
still() { # those of "$tmp/has" that are still there
	local kind id
	{ bpftool -j map list | jq -r '.[] | "map \(.id)"'
		bpftool -j prog list | jq -r '.[] | "prog \(.id)"'
		bpftool -j link list | jq -r '.[] | "link \(.id)"'
		readlink /proc/[0-9]*/ns/net 2>/dev/null | sed 's/^/namespace /' || true
		while read -r kind id; do
			if [ "$kind" = process ] && [ -d "/proc/$id" ]; then echo "process $id"; fi
		done <"$tmp/has"; } | sort -u | comm -12 - "$tmp/has"
}
left_nothing() {
	# BPF objects go when the kernel gets round to it.
	for _ in $(seq 100); do
		belongings >"$tmp/after"
		if [ -z "$(comm -13 "$tmp/before" "$tmp/after")$(still)" ]; then return; fi
		sleep 0.1
	done
	fail "the demo left something behind ($1): $(comm -13 "$tmp/before" "$tmp/after") $(still)"
}
has() { # what, jq condition
	jq -e -s "any(.[]; $2)" "$tmp/out" >/dev/null || fail "no line shows $1 ($2); see the first lines:$(head -n 5 "$tmp/out")"
	echo "ok: $1"
}

"$plugin" demo --headless --for 6s -o json >"$tmp/out" 2>"$tmp/err" &
pid=$!
for _ in $(seq 200); do
	if [ -s "$tmp/out" ]; then break; fi
	sleep 0.1
done
running
wait "$pid" || fail "it ended with $?: $(cat "$tmp/err")"
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

tmux -L "$socket" new-session -d -s demo -x 140 -y 40 "$plugin demo; echo ended with \$?; sleep 60"
seen() {
	for _ in $(seq 300); do
		tmux -L "$socket" capture-pane -t demo -p >"$tmp/screen"
		if grep -qi -- "$1" "$tmp/screen"; then return; fi
		sleep 0.1
	done
	cat "$tmp/screen" >&2
	fail "the screen doesn't show $1"
}
seen "would deny"
seen "deploy/web"
echo "ok: the screen"
running
tmux -L "$socket" send-keys -t demo q
seen "ended with 0"
tmux -L "$socket" kill-session -t demo
left_nothing "after q"

# However it ends, on the screen and without one.
ends() { # flags, in words, command...
	local flags=$1 how=$2
	shift 2
	tmux -L "$socket" new-session -d -s demo -x 140 -y 40 "$plugin demo $flags; echo ended with \$?; sleep 60"
	seen "would.deny"
	running
	"$@"
	if [ "$how" = Ctrl-C ]; then seen "ended with 0"; fi
	left_nothing "$how of demo $flags"
	tmux -L "$socket" kill-session -t demo 2>/dev/null || true # unless that was the end
	echo "ok: $how, demo $flags"
}
tell() { kill "-$1" "$(pgrep -o -f "^$plugin demo")"; }
for flags in "" "--headless --for 5m"; do
	ends "$flags" "Ctrl-C" tmux -L "$socket" send-keys -t demo C-c
	for signal in TERM HUP KILL; do ends "$flags" "SIG$signal" tell "$signal"; done
	ends "$flags" "a closed terminal" tmux -L "$socket" kill-session -t demo
done
echo "demo-check: everything is as it should be"
