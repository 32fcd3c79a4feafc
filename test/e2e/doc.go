// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the plugin as a user runs it, on a real cluster: the
// project's own two nodes (folder cluster, see its README), or any other by
// E2E_KUBECONFIG. `make e2e` runs it; the tests are behind the build tag e2e.
//
//	go test -tags e2e -run TestEnforce -v ./test/e2e   after `make cluster-up` and with run.sh's variables
package e2e
