# SPDX-License-Identifier: Apache-2.0

##@ See it

.PHONY: demo
DEMO_FLAGS ?=
demo: build ## a small shop in network namespaces, observed live; root on Linux, a recording elsewhere
	$(BIN)/kubectl-ebpol demo $(DEMO_FLAGS)

.PHONY: demo-recording
demo-recording: build ## record the demo anew into the file that ships inside the plugin; needs root
	@$(ROOT)/hack/demo-recording.sh $(BIN)/kubectl-ebpol pkg/demo/shop.ebpol

.PHONY: pictures
pictures: ## draw the screens of the README anew, from the recording of the demo
	$(GO) test ./cmd/kubectl-ebpol -count=1 -run TestTheDemoOnTheScreen -pictures $(ROOT)/docs/pictures

.PHONY: bench
bench: ## what it costs, as ratios measured on this machine; needs root
	@$(ROOT)/hack/bench.sh
