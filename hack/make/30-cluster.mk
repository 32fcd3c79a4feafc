# SPDX-License-Identifier: Apache-2.0
#
# The probe image and the cluster of test/e2e.

##@ Cluster

.PHONY: image
image: ## the probe's OCI image, amd64 and arm64, below dist/; no container engine needed
	$(GO) run ./hack/image -o $(ROOT)/dist/image

.PHONY: cluster-up
cluster-up: ## build and boot two Kubernetes nodes on this machine; needs root
	@$(ROOT)/test/e2e/cluster/up.sh

.PHONY: cluster-down
cluster-down: ## end the cluster and leave nothing
	@$(ROOT)/test/e2e/cluster/down.sh

.PHONY: e2e
e2e: ## end-to-end tests on E2E_KUBECONFIG, or on a cluster booted for it
	@$(ROOT)/test/e2e/run.sh $(E2E_FLAGS)

.PHONY: e2e-iptables
e2e-iptables: ## the tests of services with kube-proxy in iptables mode, on another cluster booted for it
	@EBPOL_PROXY=iptables EBPOL_CLUSTER=$${EBPOL_CLUSTER:-}ipt EBPOL_PORT=$${EBPOL_IPTABLES_PORT:-16544} \
		E2E_KUBECONFIG= $(ROOT)/test/e2e/run.sh -run 'TestServices|TestHairpin|TestNodePort' $(E2E_FLAGS)
