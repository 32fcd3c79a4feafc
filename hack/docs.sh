#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the tables between "generated" markers in README.md and ARCHITECTURE.md.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/docs README.md ARCHITECTURE.md
