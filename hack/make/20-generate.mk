# SPDX-License-Identifier: Apache-2.0
#
# Generated files are committed, so that building needs neither clang nor
# protoc. The check makes them again and compares.

CLANG_VERSION := 19
export BPF2GO_CC ?= clang-$(CLANG_VERSION)
export BPF2GO_STRIP ?= llvm-strip-$(CLANG_VERSION)

##@ Generated files

.PHONY: generate
generate: ## BPF objects (clang-19), protobuf (protoc), the tables in README
	@command -v $(BPF2GO_CC) >/dev/null || { echo '$(BPF2GO_CC) is missing: run "make setup"'; exit 1; }
	@command -v protoc >/dev/null || { echo 'protoc is missing: run "make setup"'; exit 1; }
	CGO_ENABLED=0 $(GO) generate ./...
	@$(ROOT)/hack/docs.sh

.PHONY: generate-check
generate-check: ## fail if `make generate` would change something
	@$(ROOT)/hack/generate-check.sh
