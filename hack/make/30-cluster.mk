# SPDX-License-Identifier: Apache-2.0
#
# The probe image and the cluster of test/e2e.

##@ Cluster

.PHONY: image
image: ## the probe's OCI image, amd64 and arm64, below dist/; no container engine needed
	$(GO) run ./hack/image -o $(ROOT)/dist/image

.PHONY: cluster-up
cluster-up: ## build and boot two Kubernetes nodes on this machine; needs root
	@$(ROOT)/hack/cluster.sh up

.PHONY: cluster-down
cluster-down: ## end the cluster and leave nothing
	@$(ROOT)/hack/cluster.sh down

.PHONY: e2e
e2e: ## end-to-end tests on E2E_KUBECONFIG, or on a cluster booted for it
	@$(ROOT)/hack/cluster.sh e2e
