#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ends the cluster that up.sh booted, and nothing else: a machine's process 1
# takes everything in its PID namespace with it.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
for f in "$run"/*.pid; do
	[ -f "$f" ] || continue
	pid=$(cat "$f") name=$(basename "$f" .pid)
	# a number may be somebody else's by now: look before ending it
	if [ "$name" = forward ]; then
		tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'helper forward' && kill "$pid"
	elif [ -n "$pid" ] && [ "$(stat -Lc %i "/proc/$pid/ns/net" 2>/dev/null)" = "$(stat -Lc %i "/run/netns/$ns-$name" 2>/dev/null)" ]; then
		kill -9 "$pid"
	fi
	for _ in $(seq 100); do
		[ -d "/proc/$pid" ] || break
		sleep 0.1
	done
	rm -f "$f"
done
for n in $(ip netns list | awk '{print $1}' | grep "^$ns-"); do ip netns del "$n"; done
for _ in $(seq 50); do # a cgroup can go once its last process is reaped
	for d in /sys/fs/cgroup/$ns /sys/fs/cgroup/*/$ns; do
		[ ! -d "$d" ] || find "$d" -depth -type d -exec rmdir {} + 2>/dev/null
	done
	ls -d /sys/fs/cgroup/$ns /sys/fs/cgroup/*/$ns >/dev/null 2>&1 || break
	sleep 0.1
done
rm -rf --one-file-system "$run"
if left=$(ls -d "$run" /sys/fs/cgroup/$ns /sys/fs/cgroup/*/$ns 2>/dev/null; ip netns list | grep "^$ns-"); then
	die "left behind: $left"
fi
