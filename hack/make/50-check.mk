# SPDX-License-Identifier: Apache-2.0

##@ All of it

.PHONY: setup
setup: ## install what the tests need on a Debian 12 machine; needs root
	@$(ROOT)/hack/setup.sh

.PHONY: check
check: ## set up a fresh Debian machine and run every test there is; needs root
	@$(ROOT)/hack/check.sh

##@ Release

.PHONY: dist
dist: ## archives for krew, six platforms, below dist/
	$(GO) run ./hack/dist -version $(VERSION) -o $(ROOT)/dist

.PHONY: krew-check
krew-check: dist ## install the archives with krew and run what was installed
	@$(ROOT)/hack/krew-check.sh
