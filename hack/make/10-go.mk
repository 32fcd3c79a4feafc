# SPDX-License-Identifier: Apache-2.0
#
# Build, test, lint, format.

VERSION ?= $(shell git -C $(ROOT) describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo v0.0.0-$$(git -C $(ROOT) describe --always --exclude='*' --dirty 2>/dev/null || echo unknown))
LDFLAGS := -s -w -X main.version=$(VERSION) -X github.com/ebpol/kubectl-ebpol/pkg/version.Version=$(VERSION)
GOTOOLS := $(GO) tool -modfile=$(ROOT)/tools/go.mod
# Where a stage leaves its totals, for the sum that `make check` prints.
TOTALS ?= $(ROOT)/.cache/totals
# go test runs through hack/gotest: it prints what go test prints, failures and
# skips with their reasons, and at the end how many tests there were.
GOTEST := $(GO) run $(ROOT)/hack/gotest -totals=$(TOTALS)

##@ Every day

.PHONY: build
build: ## the plugin and the probe for this machine, below bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: test
test: ## every test that needs no root and no cluster
	@$(GOTEST) ./...

.PHONY: lint
lint: ## golangci-lint and shell syntax, for Linux and for what users run elsewhere
	$(GOTOOLS) golangci-lint run --allow-serial-runners ./...
	GOFLAGS=-trimpath GOOS=darwin $(GO) vet ./cmd/kubectl-ebpol/... ./tui/... ./pkg/...
	@for f in $$(git ls-files '*.sh' .ci/run); do bash -n "$$f"; done

.PHONY: format
format: ## gofumpt and import order, in place
	$(GOTOOLS) golangci-lint fmt ./...

.PHONY: format-check
format-check: ## fail if `make format` would change something
	@$(GOTOOLS) golangci-lint fmt --diff ./... || { echo 'run "make format"'; exit 1; }

##@ Tests that need more

.PHONY: test-root
test-root: ## beds of network namespaces and BPF in the running kernel; needs root on Linux
	@[ "$$(id -u)" = 0 ] || { echo 'test-root needs root: run "sudo make test-root"'; exit 1; }
	@EBPOL_ROOT_TESTS=1 $(GOTEST) -count=1 -p 1 $$($(ROOT)/hack/root-packages.sh)

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME each
	@GO=$(GO) $(ROOT)/hack/fuzz.sh $(FUZZTIME)

.PHONY: cross
# With -trimpath the packages compiled here are those that `make dist` needs.
cross: ## the plugin for linux, darwin, windows and the probe for linux; amd64 and arm64
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo "build kubectl-ebpol $$os/$$arch"; \
	  GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -o /dev/null ./cmd/kubectl-ebpol; done; done
	@for arch in amd64 arm64; do echo "build ebpol-probe linux/$$arch"; \
	  GOOS=linux GOARCH=$$arch $(GO) build -trimpath -o /dev/null ./cmd/ebpol-probe; done
