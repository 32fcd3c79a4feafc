# SPDX-License-Identifier: Apache-2.0
# The project's own Kubernetes cluster, the probe's image, and the tests on them.

##@ Cluster

.PHONY: cluster-up cluster-down e2e image

cluster-up: ## Build (once per version) and boot a two-node dual-stack Kubernetes; root
	@test/e2e/cluster/up.sh

cluster-down: ## End it and leave nothing
	@test/e2e/cluster/down.sh

e2e: ## End-to-end tests on E2E_KUBECONFIG, or on a cluster that is booted for them; root
	@test/e2e/run.sh $(E2E_FLAGS)

image: ## The probe's image, amd64 and arm64, reproducible, into dist/image
	go run ./hack/image -o dist/image
