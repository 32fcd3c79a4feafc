# SPDX-License-Identifier: Apache-2.0
# What others say that a policy means, in a module of its own.

WORLDS ?= 2000

.PHONY: agree
##@ Tests
agree: ## compare the reference evaluator with cyclonus and with the text of the types (WORLDS=2000)
	@cd $(ROOT)/hack/agree && GOFLAGS=-mod=mod $(GO) test -v -count=1 ./... -worlds $(WORLDS)
