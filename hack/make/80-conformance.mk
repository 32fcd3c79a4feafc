# SPDX-License-Identifier: Apache-2.0
##@ Tests that need more

.PHONY: conformance
conformance: ## upstream's suites with enforcement as the only policy engine, and without; needs root
	@$(ROOT)/hack/conformance.sh
