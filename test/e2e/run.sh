#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the end-to-end tests: on the cluster of E2E_KUBECONFIG, or on the
# project's own, which is booted for them and ended afterwards unless it was
# running already. Arguments go to go test (-run REGEXP, -v).
#
# With E2E_KUBECONFIG, E2E_IMAGE is the probe image that the nodes can pull, and
# E2E_AGNHOST, E2E_BUSYBOX the test images; tests that need the machine of a
# node say that they don't run. E2E_GOTEST is what runs them: "go test", say.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/e2e/cluster/lib.sh
. test/e2e/cluster/lib.sh
mkdir -p bin dist
go build -trimpath -o bin/kubectl-ebpol ./cmd/kubectl-ebpol
if [ -z "${E2E_KUBECONFIG:-}" ]; then
	if ! is_up; then
		trap 'test/e2e/cluster/down.sh' EXIT
		test/e2e/cluster/up.sh >/dev/null
	fi
	go run ./hack/image -o dist/image -tag "$image/ebpol-probe:e2e" >dist/image.digest
	test/e2e/cluster/load.sh dist/image/image.tar
	export E2E_KUBECONFIG=$kubeconfig E2E_STATE=$run
	export E2E_IMAGE=$image/ebpol-probe:e2e E2E_BUSYBOX=$image/busybox:1
	E2E_AGNHOST=$image/e2e/agnhost:$(cat "$out/build/agnhost.version")
	export E2E_AGNHOST
fi
export E2E_PLUGIN=$PWD/bin/kubectl-ebpol
# shellcheck disable=SC2086
${E2E_GOTEST:-go run ./hack/gotest} -count=1 -tags e2e -timeout 20m "$@" ./test/e2e/...
