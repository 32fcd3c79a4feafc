#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds a Kubernetes cluster's programs and images from the Go module proxy
# and Debian packages alone, once per version: a part that is there is left.
#   build.sh [PART...]   apt helper kube containerd coredns agnhost images
#                        (the default), netpol peer (not in it)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$bin" "$out/build" "$out/images"
exec 8>"$cache/build.lock"
flock 8 # two checkouts may share the cache
export CGO_ENABLED=0 GOWORK=off GOFLAGS="-buildvcs=false -p=${EBPOL_JOBS:-$(nproc)}"
go_build() { nice -n 10 go build -trimpath "$@"; }

do_apt() {
	local want=(runc nftables iptables conntrack busybox-static containernetworking-plugins iproute2 jq)
	dpkg -s "${want[@]}" >/dev/null 2>&1 && return
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}"
}

do_helper() { (cd "$repo" && go_build -ldflags '-s -w' -o "$bin/helper" ./test/e2e/cluster/helper); }

# The kubernetes module can't be built by `go install pkg@version`, because it
# replaces its staging modules by folders that its zip lacks. So make a module
# with its requirements and each replacement pointed at the published module.
kube_module() {
	local dir=$out/build/kube src staging=v0.${kube_version#1.} etcd
	mkdir -p "$dir"
	cp "$here"/hyper/main.go "$dir/"
	if [ ! -f "$dir/.complete" ]; then
		src=$(go mod download -json "k8s.io/kubernetes@v$kube_version" | jq -r .Dir) ||
			die "k8s.io/kubernetes v$kube_version: the module proxy has no zip of it; set KUBE_VERSION to a version that it has"
		sed -E -e 's|^module .*|module hyper|' -e '/^godebug /d' \
			-e "s#(k8s.io/[a-z-]+) => \./staging/.*#\1 => \1 $staging#" "$src/go.mod" >"$dir/go.mod"
		cp "$src/go.sum" "$dir/go.sum"
		chmod u+w "$dir"/go.*
		etcd=$(awk '$1=="go.etcd.io/etcd/client/v3"{print $2}' "$src/go.mod")
		(cd "$dir" && go mod edit -require="k8s.io/kubernetes@v$kube_version" -require="go.etcd.io/etcd/server/v3@$etcd")
		cat "$src/test/images/agnhost/VERSION" >"$out/build/agnhost.version"
		touch "$dir/.complete"
	fi
	cd "$dir"
}
kube_ldflags() {
	local p=k8s.io/component-base/version minor=${kube_version#1.}
	echo "-s -w -X $p.gitVersion=v$kube_version -X $p.gitMajor=1 -X $p.gitMinor=${minor%%.*} -X $p.gitTreeState=clean"
}
do_kube() (
	[ ! "$bin/hyper" -nt "$here/hyper/main.go" ] || exit 0
	kube_module
	go_build -mod=mod -ldflags "$(kube_ldflags)" -o "$bin/hyper" main.go # whatever else the folder was used for
	for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
		ln -sf hyper "$bin/$name"
	done
)

do_containerd() {
	local p=github.com/containerd/containerd/v2 c
	for c in containerd containerd-shim-runc-v2 ctr; do
		[ -x "$bin/$c" ] || GOBIN=$bin nice -n 10 go install -trimpath -ldflags "-s -w -X $p/version.Version=v$containerd_version" "$p/cmd/$c@v$containerd_version"
	done
}

do_coredns() { [ -x "$bin/coredns" ] || GOBIN=$bin nice -n 10 go install -trimpath -ldflags '-s -w' "github.com/coredns/coredns@v$coredns_version"; }

# agnhost is the server and client of upstream's network tests, and of ours
do_agnhost() (
	[ ! -x "$bin/agnhost" ] || exit 0
	kube_module
	go_build -mod=mod -ldflags "$(kube_ldflags)" -o "$bin/agnhost" k8s.io/kubernetes/test/images/agnhost
)

# pack NAME TREE CONFIG: a folder as an image archive of one layer, which
# `ctr images import` reads. CONFIG is the image's config object.
pack() {
	local name=$1 tree=$2 config=$3 tmp=$out/build/pack file sum
	file=$out/images/$(basename "${name%%:*}").tar
	rm -rf "$tmp" && mkdir -p "$tmp"
	tar -C "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$tmp/layer.tar" .
	sum=$(sha256sum "$tmp/layer.tar" | cut -d' ' -f1)
	jq -nc --argjson c "$config" --arg s "sha256:$sum" --arg a "$(go env GOARCH)" \
		'{architecture:$a,os:"linux",config:$c,rootfs:{type:"layers",diff_ids:[$s]},history:[{created:"1970-01-01T00:00:00Z"}]}' >"$tmp/config.json"
	jq -nc --arg n "$name" '[{Config:"config.json",RepoTags:[$n],Layers:["layer.tar"]}]' >"$tmp/manifest.json"
	tar -C "$tmp" -cf "$file" manifest.json config.json layer.tar
	rm -rf "$tmp"
}
fresh() { [ "$out/images/$1.tar" -nt "$2" ]; } # image $1 is newer than the program in it

# base_tree DIR: a root with busybox (sh, httpd, nc, wget, ip, …) in it
base_tree() {
	rm -rf "$1" && mkdir -p "$1"/{bin,sbin,usr/bin,usr/sbin,etc,tmp,root,proc,sys,dev,var/run,run}
	chmod 1777 "$1/tmp"
	cp "$(command -v busybox)" "$1/bin/busybox"
	local a
	for a in $("$1/bin/busybox" --list); do [ "$a" = busybox ] || ln -sf busybox "$1/bin/$a"; done
	echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
	echo 'root:x:0:' >"$1/etc/group"
}

do_images() {
	local t=$out/build/tree env='["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
	if ! fresh pause "$bin/helper"; then
		rm -rf "$t" && mkdir -p "$t" && cp "$bin/helper" "$t/helper"
		pack $image/pause:1 "$t" '{"Entrypoint":["/helper","pause"]}'
	fi
	if ! fresh busybox "$(command -v busybox)"; then
		base_tree "$t"
		pack $image/busybox:1 "$t" "{\"Env\":$env,\"Cmd\":[\"sh\"]}"
	fi
	if ! fresh coredns "$bin/coredns"; then
		rm -rf "$t" && mkdir -p "$t/etc" && cp "$bin/coredns" "$t/coredns"
		pack $image/coredns:1 "$t" '{"Entrypoint":["/coredns"]}'
	fi
	if ! fresh agnhost "$bin/agnhost"; then
		base_tree "$t"
		cp "$bin/agnhost" "$t/agnhost"
		pack "$image/e2e/agnhost:$(cat "$out/build/agnhost.version")" "$t" "{\"Env\":$env,\"Entrypoint\":[\"/agnhost\"],\"Cmd\":[\"pause\"]}"
	fi
	rm -rf "$t"
}

# upstream's end-to-end tests of network policy, and no others (netpol.sh);
# ginkgo runs several of them at a time. Where nothing is enforced, a test waits
# ten seconds, twice, for each of up to 81 connections to be denied, and has no
# setting for it: netpol-open.test is the same but for waiting one second.
do_netpol() (
	[ ! -x "$bin/ginkgo" ] || [ ! "$bin/netpol-open.test" -nt "$here/hyper/netpol/netpol_test.go" ] || exit 0
	kube_module
	mkdir -p netpol && cp "$here"/hyper/netpol/*.go netpol/
	go_build -mod=mod -o "$bin/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
	nice -n 10 go test -mod=mod -c -trimpath -ldflags "$(kube_ldflags)" -o "$bin/netpol.test" ./netpol
	src=$(go mod download -json "k8s.io/kubernetes@v$kube_version" | jq -r .Dir)/test/e2e/network/netpol
	rm -rf open && mkdir -p open/netpol
	install -m 644 "$src"/*.go open/netpol/
	install -m 644 "$here"/hyper/netpol/*.go open/
	sed -i 's/^const defaultPollTimeoutSeconds = 10$/const defaultPollTimeoutSeconds = 1/' open/netpol/kubemanager.go
	! cmp -s "$src/kubemanager.go" open/netpol/kubemanager.go || die "upstream's tests don't say how long they wait as they did: see defaultPollTimeoutSeconds in $src/kubemanager.go"
	sed -i 's|"k8s.io/kubernetes/test/e2e/network/netpol"|"hyper/open/netpol"|' open/*.go
	nice -n 10 go test -mod=mod -c -trimpath -ldflags "$(kube_ldflags)" -o "$bin/netpol-open.test" ./open
)

# an enforcer of network policies that nobody here wrote (peer.sh)
do_peer() (
	[ ! -x "$bin/kube-network-policies" ] || exit 0
	# not `go install pkg@version`: its own go.mod has replacements
	m=sigs.k8s.io/kube-network-policies dir=$out/build/peer
	mkdir -p "$dir" && cd "$dir"
	printf 'module peer\n\ngo 1.26.0\n\nrequire %s v%s\n' $m "$knp_version" >go.mod
	printf '//go:build tools\n\npackage peer\n\nimport _ "%s/cmd/kube-network-policies/standard"\n' $m >tools.go
	install -m 644 "$(go mod download -json "$m@v$knp_version" | jq -r .Dir)/go.sum" go.sum
	go_build -mod=mod -ldflags '-s -w' -o "$bin/kube-network-policies" $m/cmd/kube-network-policies/standard
)

parts=("$@")
[ $# -gt 0 ] || parts=(apt helper kube containerd coredns agnhost images)
for p in "${parts[@]}"; do
	SECONDS=0
	"do_$p"
	[ $SECONDS -lt 2 ] || say "built $p in ${SECONDS}s"
done
